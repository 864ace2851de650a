#include "relayconnection.h"

#include <QJsonDocument>
#include <QJsonObject>
#include <QWebChannel>

#include <chrono>

#include "relayedpage.h"

using namespace std::chrono_literals;

namespace {

constexpr auto againAfter = 1s;
constexpr auto againAfterAtMost = 30s;

} // namespace

RelayConnection::RelayConnection(QWebChannel &channel, const QNetworkRequest &request, QObject *parent)
    : QObject(parent)
    , m_channel(channel)
    , m_request(request)
{
    m_again.setSingleShot(true);
    m_again.setInterval(againAfter);
    connect(&m_again, &QTimer::timeout, this, &RelayConnection::open);
    connect(&m_socket, &QWebSocket::connected, this, [this] {
        m_isConnected = true;
        m_again.setInterval(againAfter);
        emit connected();
    });
    connect(&m_socket, &QWebSocket::textMessageReceived, this, &RelayConnection::receive);
    connect(&m_socket, &QWebSocket::disconnected, this, [this] {
        // Also where it never was connected: the socket tells of every end in this way.
        forgetPages();
        // A reason that was given once stays with the socket, so it counts only for a connection that was there.
        const bool isReasonGiven = m_isConnected && !m_socket.closeReason().isEmpty();
        m_isConnected = false;
        emit disconnected(isReasonGiven ? m_socket.closeReason() : m_socket.errorString());
        m_again.start();
        m_again.setInterval(qMin<std::chrono::milliseconds>(2 * m_again.intervalAsDuration(), againAfterAtMost));
    });
}

RelayConnection::~RelayConnection()
{
    // The socket closes with us, and that is no reason to connect again.
    m_socket.disconnect(this);
    forgetPages();
}

void RelayConnection::open()
{
    m_socket.setSslConfiguration(m_request.sslConfiguration());
    m_socket.open(m_request);
}

// {"page": 7, "event": "joined"}, {"page": 7, "message": "…"} or {"page": 7, "event": "left"}
void RelayConnection::receive(const QString &text)
{
    const auto envelope = QJsonDocument::fromJson(text.toUtf8()).object();
    const int number = envelope["page"].toInt();
    const auto event = envelope["event"].toString();
    if (event == "joined")
        join(number);
    else if (event == "left")
        leave(number);
    else if (auto *page = m_pages.value(number))
        page->receive(envelope["message"].toString());
}

void RelayConnection::join(int number)
{
    auto *page = new RelayedPage(this);
    m_pages.insert(number, page);
    connect(page, &RelayedPage::said, this, [this, number](const QString &message) {
        const QJsonObject envelope{{"page", number}, {"message", message}};
        m_socket.sendTextMessage(QString::fromUtf8(QJsonDocument(envelope).toJson(QJsonDocument::Compact)));
    });
    m_channel.connectTo(page);
}

void RelayConnection::leave(int number)
{
    auto *page = m_pages.take(number);
    if (!page)
        return;
    m_channel.disconnectFrom(page);
    page->deleteLater();
}

void RelayConnection::forgetPages()
{
    const auto numbers = m_pages.keys();
    for (const int number : numbers)
        leave(number);
}
