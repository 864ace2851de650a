#pragma once

#include <QObject>
#include <QWebSocketServer>

#include <chrono>

class QWebSocket;

// Sends back to each client whatever it says, and pings it so that the router in front keeps the connection.
class EchoServer : public QObject
{
    Q_OBJECT

public:
    // A pingInterval of zero means no pings.
    explicit EchoServer(std::chrono::milliseconds pingInterval, QObject *parent = nullptr);

    bool listen(quint16 port);
    quint16 port() const;
    QString errorString() const;

    // Says goodbye to every client. Nobody new is let in.
    void close();

private:
    void welcome(QWebSocket *client);
    bool isReading(QWebSocket *client);

    const std::chrono::milliseconds m_pingInterval;
    QWebSocketServer m_server;
    int m_lastNumber = 0;
};
