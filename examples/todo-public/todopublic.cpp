#include "todopublic.h"

#include <QJsonDocument>
#include <QNetworkReply>

namespace {

QByteArray json(const QJsonObject &object)
{
    return QJsonDocument(object).toJson(QJsonDocument::Compact);
}

} // namespace

TodoPublic::TodoPublic(const Server &server, QObject *parent)
    : QObject(parent)
    , m_server(server)
{
    m_socket.setSslConfiguration(m_server.tls);
    connect(&m_socket, &QWebSocket::connected, this, &TodoPublic::connected);
    connect(&m_socket, &QWebSocket::textMessageReceived, this, &TodoPublic::hear);
    connect(&m_socket, &QWebSocket::disconnected, this, [this] {
        // Also where it never was connected: the socket tells of every end in this way.
        const auto why = m_socket.closeReason().isEmpty() ? m_socket.errorString() : m_socket.closeReason();
        emit failed(QString("the WebSocket is closed (%1): %2").arg(m_socket.closeCode()).arg(why));
    });
}

TodoPublic::~TodoPublic()
{
    // The socket closes with us, and that is no failure.
    m_socket.disconnect(this);
}

void TodoPublic::listen()
{
    if (!m_server.backendId.isEmpty() && !m_server.gatewayId.isEmpty()) {
        openSocket();
        return;
    }
    whenAnswered(m_network.get(request("/todo/config.json")), [this](const QJsonObject &page) {
        m_server.backendId = page["backendId"].toString();
        m_server.gatewayId = page["gatewayId"].toString();
        openSocket();
    });
}

// The address of a WebSocket serves for one connection, so each begins by asking for one.
void TodoPublic::openSocket()
{
    const auto path = QString("/v1/gateways/%1/websocket_uri").arg(m_server.gatewayId);
    whenAnswered(m_network.get(request(path)), [this](const QJsonObject &address) {
        m_socket.open(QUrl(address["uri"].toString()));
    });
}

void TodoPublic::create(const QString &title)
{
    const auto body = json({{"title", title}, {"completed", false}});
    whenAnswered(m_network.post(todosRequest(), body), [this](const QJsonObject &todo) {
        emit created(todo["id"].toString());
    });
}

void TodoPublic::setCompleted(const QString &id, bool completed)
{
    whenAnswered(m_network.put(todosRequest(id), json({{"completed", completed}})));
}

void TodoPublic::remove(const QString &id)
{
    whenAnswered(m_network.deleteResource(todosRequest(id)));
}

// A message tells what became of which object: {"object":{...},"meta":{"eventName":"create",...}}.
void TodoPublic::hear(const QString &message)
{
    const auto json = QJsonDocument::fromJson(message.toUtf8());
    const auto object = json["object"].toObject();
    // A gateway passes on everything that is sent to it; this program is about todos.
    if (object["objectType"] == QLatin1String("objects.todos"))
        emit heard(json["meta"]["eventName"].toString(), object);
}

QNetworkRequest TodoPublic::request(const QString &path) const
{
    QUrl url = m_server.url;
    url.setPath(path);
    QNetworkRequest request(url);
    request.setSslConfiguration(m_server.tls);
    return request;
}

QNetworkRequest TodoPublic::todosRequest(const QString &id) const
{
    auto todos = request(id.isEmpty() ? QString("/v1/objects/todos") : "/v1/objects/todos/" + id);
    todos.setRawHeader("Enginio-Backend-Id", m_server.backendId.toUtf8());
    todos.setHeader(QNetworkRequest::ContentTypeHeader, "application/json");
    return todos;
}

void TodoPublic::whenAnswered(QNetworkReply *reply, const Use &use)
{
    connect(reply, &QNetworkReply::finished, this, [this, reply, use] {
        reply->deleteLater();
        const auto body = reply->readAll();
        const auto answer = QJsonDocument::fromJson(body);
        if (reply->error() != QNetworkReply::NoError)
            emit failed(reply->errorString() + ' ' + QString::fromUtf8(body));
        else if (!answer.isObject())
            emit failed("no JSON object came from " + reply->url().toString());
        else if (use)
            use(answer.object());
    });
}
