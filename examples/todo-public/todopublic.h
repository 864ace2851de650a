#pragma once

#include <QJsonObject>
#include <QNetworkAccessManager>
#include <QNetworkRequest>
#include <QObject>
#include <QSslConfiguration>
#include <QUrl>
#include <QWebSocket>

#include <functional>

// The public todos of a server: changes them over REST, and hears of every change over a WebSocket.
class TodoPublic : public QObject
{
    Q_OBJECT

public:
    struct Server
    {
        // Such as http://127.0.0.1:8080.
        QUrl url;
        // Where these are empty, the server's own todo page is asked for them.
        QString backendId;
        QString gatewayId;
        QSslConfiguration tls;
    };

    explicit TodoPublic(const Server &server, QObject *parent = nullptr);
    ~TodoPublic() override;

    // Begins to listen; connected() says when. Who listens too late hears nothing, so this comes first.
    void listen();

    void create(const QString &title);
    void setCompleted(const QString &id, bool completed);
    void remove(const QString &id);

signals:
    void connected();
    // The reply to create(). The message about the new todo may arrive before it.
    void created(const QString &id);
    // What became of a todo ("create", "update" or "delete"), whoever did it.
    void heard(const QString &event, const QJsonObject &todo);
    void failed(const QString &why);

private:
    using Use = std::function<void(const QJsonObject &answer)>;

    void openSocket();
    void hear(const QString &message);

    QNetworkRequest request(const QString &path) const;
    QNetworkRequest todosRequest(const QString &id = {}) const;
    void whenAnswered(QNetworkReply *reply, const Use &use = {});

    Server m_server;
    QNetworkAccessManager m_network;
    QWebSocket m_socket;
};
