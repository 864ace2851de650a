#pragma once

#include <QByteArray>
#include <QJsonObject>
#include <QTcpSocket>
#include <QUrl>

// The notification stream as the Qt library reads it: a plain socket without TLS, a handshake that is compared byte for
// byte, and frames of which it knows only the whole ones.
class Stream
{
public:
    // Connects to where a ticket leads, by itself to port 8080.
    explicit Stream(const QUrl &url);

    // The next message.
    QJsonObject hear();
    // Pings and waits for the answer; what else comes in between is an error.
    void ping(const QByteArray &payload);
    // Says goodbye, and expects the same status back and then the end.
    void close(quint16 status);

private:
    struct Frame
    {
        quint8 opcode;
        QByteArray payload;
    };

    Frame frame();
    QByteArray read(qint64 bytes);
    void send(quint8 opcode, const QByteArray &payload);

    QTcpSocket m_socket;
};
