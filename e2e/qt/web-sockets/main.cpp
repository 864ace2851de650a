// QWebSocket on a string: does what each line of its input says, and says what it hears. One socket at a time.
//
//     open URI          open permessage-deflate… | open -
//     say HEX           text MARK
//     say-long COUNT
//     send HEX          binary MARK
//     ping WORD         pong WORD
//     close CODE WORD   closed CODE REASON
//
// What is heard is told by its bytes in hex, or by their number and a checksum. `--ca FILE` names a CA to trust.

#include <QCoreApplication>
#include <QFile>
#include <QSocketNotifier>
#include <QSslCertificate>
#include <QSslConfiguration>
#include <QTextStream>
#include <QWebSocket>

#include <unistd.h>

namespace {

constexpr int shownMax = 64;

void tell(const QString &line)
{
    QTextStream(stdout) << line << Qt::endl;
}

QString mark(const QByteArray &bytes)
{
    if (bytes.size() <= shownMax)
        return bytes.isEmpty() ? QStringLiteral("-") : QString::fromLatin1(bytes.toHex());
    quint32 sum = 0;
    for (const char byte : bytes)
        sum = sum * 31 + static_cast<quint8>(byte);
    return QString("%1:%2").arg(bytes.size()).arg(sum);
}

QByteArray letters(int count)
{
    QByteArray text(count, 'a');
    for (int place = 0; place < count; ++place)
        text[place] = static_cast<char>('a' + place % 26);
    return text;
}

class Puppet : public QObject
{
public:
    explicit Puppet(const QString &ca)
    {
        if (!ca.isEmpty()) {
            QFile file(ca);
            if (!file.open(QIODevice::ReadOnly))
                qFatal("the CA cannot be read");
            m_tls.setCaCertificates(QSslCertificate::fromDevice(&file));
        }
        connect(&m_input, &QSocketNotifier::activated, this, [this] { read(); });
    }

private:
    void read()
    {
        char chunk[65536];
        const ssize_t count = ::read(0, chunk, sizeof chunk);
        if (count <= 0) {
            m_input.setEnabled(false);
            QCoreApplication::quit();
            return;
        }
        m_unread.append(chunk, static_cast<int>(count));
        for (;;) {
            const auto end = m_unread.indexOf('\n');
            if (end < 0)
                return;
            obey(QString::fromUtf8(m_unread.left(end)));
            m_unread.remove(0, end + 1);
        }
    }

    void obey(const QString &line)
    {
        const QString verb = line.section(' ', 0, 0);
        const QString rest = line.section(' ', 1);
        if (verb == "open")
            open(rest);
        else if (verb == "say")
            sayText(QByteArray::fromHex(rest.toLatin1()));
        else if (verb == "say-long")
            m_socket->sendTextMessage(QString::fromLatin1(letters(rest.toInt())));
        else if (verb == "send")
            m_socket->sendBinaryMessage(QByteArray::fromHex(rest.toLatin1()));
        else if (verb == "ping")
            m_socket->ping(rest.toUtf8());
        else if (verb == "close")
            m_socket->close(static_cast<QWebSocketProtocol::CloseCode>(rest.section(' ', 0, 0).toInt()),
                            rest.section(' ', 1));
        else
            qFatal("%s is not understood", qPrintable(line));
    }

    // With its length: what is only given its beginning ends at a NUL, in Qt 5.
    void sayText(const QByteArray &utf8)
    {
        m_socket->sendTextMessage(QString::fromUtf8(utf8.constData(), static_cast<int>(utf8.size())));
    }

    void open(const QString &uri)
    {
        if (m_socket)
            m_socket->deleteLater();
        m_socket = new QWebSocket(QString(), QWebSocketProtocol::VersionLatest, this);
        if (!m_tls.caCertificates().isEmpty())
            m_socket->setSslConfiguration(m_tls);
        auto *socket = m_socket;
        connect(socket, &QWebSocket::connected, this, [] { tell("open -"); });
        connect(socket, &QWebSocket::textMessageReceived, this,
                [](const QString &text) { tell("text " + mark(text.toUtf8())); });
        connect(socket, &QWebSocket::binaryMessageReceived, this,
                [](const QByteArray &bytes) { tell("binary " + mark(bytes)); });
        connect(socket, &QWebSocket::pong, this,
                [](quint64, const QByteArray &payload) { tell("pong " + QString::fromUtf8(payload)); });
        connect(socket, &QWebSocket::disconnected, this, [socket] {
            tell(QString("closed %1 %2").arg(socket->closeCode()).arg(socket->closeReason()).trimmed());
        });
        connect(socket, QOverload<QAbstractSocket::SocketError>::of(&QWebSocket::error), this, [socket] {
            QTextStream(stderr) << socket->errorString() << Qt::endl;
        });
        socket->open(QUrl(uri));
    }

    QSslConfiguration m_tls = [] {
        auto tls = QSslConfiguration::defaultConfiguration();
        tls.setCaCertificates({});
        return tls;
    }();
    QSocketNotifier m_input{0, QSocketNotifier::Read};
    QByteArray m_unread;
    QWebSocket *m_socket = nullptr;
};

} // namespace

int main(int argc, char *argv[])
{
    QCoreApplication app(argc, argv);
    const auto arguments = app.arguments();
    const auto ca = arguments.indexOf("--ca");
    Puppet puppet(ca < 0 ? QString() : arguments.value(ca + 1));
    return app.exec();
}
