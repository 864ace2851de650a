#include "echoserver.h"

#include <QTextStream>
#include <QTimer>
#include <QWebSocket>

namespace {

// The largest message that is taken; a larger one closes its connection.
constexpr quint64 messageBytesMax = 1 << 20;
// What may wait for a client that sends but does not read.
constexpr qint64 waitingBytesMax = 8 << 20;

void say(const QString &what)
{
    QTextStream(stdout) << what << Qt::endl;
}

} // namespace

EchoServer::EchoServer(std::chrono::milliseconds pingInterval, QObject *parent)
    : QObject(parent)
    , m_pingInterval(pingInterval)
    , m_server("echo-server", QWebSocketServer::NonSecureMode)
{
    connect(&m_server, &QWebSocketServer::newConnection, this, [this] {
        while (auto *client = m_server.nextPendingConnection())
            welcome(client);
    });
}

bool EchoServer::listen(quint16 port)
{
    // All interfaces: the router does not come in over the loopback of a desktop.
    return m_server.listen(QHostAddress::Any, port);
}

quint16 EchoServer::port() const
{
    return m_server.serverPort();
}

QString EchoServer::errorString() const
{
    return m_server.errorString();
}

void EchoServer::close()
{
    m_server.close();
    const auto clients = findChildren<QWebSocket *>();
    for (auto *client : clients) {
        client->close(QWebSocketProtocol::CloseCodeGoingAway, "the server is stopping");
        client->flush();
    }
}

void EchoServer::welcome(QWebSocket *client)
{
    client->setParent(this);
    client->setMaxAllowedIncomingMessageSize(messageBytesMax);
    client->setMaxAllowedIncomingFrameSize(messageBytesMax);
    const auto name = QString("client %1").arg(++m_lastNumber);
    say(name + " connected");

    connect(client, &QWebSocket::textMessageReceived, this, [this, client](const QString &text) {
        if (isReading(client))
            client->sendTextMessage(text);
    });
    connect(client, &QWebSocket::binaryMessageReceived, this, [this, client](const QByteArray &bytes) {
        if (isReading(client))
            client->sendBinaryMessage(bytes);
    });
    connect(client, &QWebSocket::disconnected, this, [client, name] {
        say(QString("%1 left (%2)").arg(name).arg(client->closeCode()));
        client->deleteLater();
    });

    if (m_pingInterval.count() > 0) {
        auto *ping = new QTimer(client);
        connect(ping, &QTimer::timeout, client, [client] { client->ping(); });
        ping->start(m_pingInterval);
    }
}

// A client that only sends would fill our memory with its own words.
bool EchoServer::isReading(QWebSocket *client)
{
    if (client->bytesToWrite() <= waitingBytesMax)
        return true;
    client->close(QWebSocketProtocol::CloseCodePolicyViolated, "you do not read what you are sent");
    return false;
}
