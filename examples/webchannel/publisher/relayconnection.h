#pragma once

#include <QHash>
#include <QNetworkRequest>
#include <QObject>
#include <QTimer>
#include <QWebSocket>

class QJsonObject;
class QWebChannel;
class RelayedPage;

// Our one connection to the relay, and the pages behind it. Where it breaks it is made anew.
class RelayConnection : public QObject
{
    Q_OBJECT

public:
    // The request says where the relay is and what we show to it.
    RelayConnection(QWebChannel &channel, const QNetworkRequest &request, QObject *parent = nullptr);
    ~RelayConnection() override;

    void open();

signals:
    void connected();
    void disconnected(const QString &why);

private:
    void receive(const QString &text);
    void join(int number);
    void leave(int number);
    void forgetPages();

    QWebChannel &m_channel;
    const QNetworkRequest m_request;
    QWebSocket m_socket;
    bool m_isConnected = false;
    QHash<int, RelayedPage *> m_pages;
    QTimer m_again;
};
