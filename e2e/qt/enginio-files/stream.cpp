#include "stream.h"

#include <QCryptographicHash>
#include <QJsonDocument>
#include <QRandomGenerator>
#include <QtEndian>

#include "client.h"

namespace {

constexpr int answeredWithinMs = 15'000;
constexpr quint16 usualPort = 8080;
// No message of this program comes near it.
constexpr quint64 payloadBytesMax = 1 << 20;

constexpr quint8 whole = 0x80;
constexpr quint8 masked = 0x80;
constexpr quint8 text = 0x1;
constexpr quint8 goodbye = 0x8;
constexpr quint8 question = 0x9;
constexpr quint8 answer = 0xA;

QByteArray random(int bytes)
{
    QByteArray random;
    while (random.size() < bytes)
        random.append(static_cast<char>(QRandomGenerator::system()->bounded(256)));
    return random;
}

// RFC 6455 §4.2.2.
QByteArray accepted(const QByteArray &key)
{
    const auto joined = key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    return QCryptographicHash::hash(joined, QCryptographicHash::Sha1).toBase64();
}

QByteArray bigEndian(quint16 number)
{
    QByteArray bytes(sizeof number, '\0');
    qToBigEndian(number, bytes.data());
    return bytes;
}

} // namespace

Stream::Stream(const QUrl &url)
{
    expect(url.scheme() == "ws", "the stream is one without TLS: " + url.toString(), {});
    const auto port = static_cast<quint16>(url.port(usualPort));
    m_socket.connectToHost(url.host(), port);
    expect(m_socket.waitForConnected(answeredWithinMs), "the stream's port can be reached", {});
    const auto key = random(16).toBase64();
    const auto host = url.host().toLatin1() + ':' + QByteArray::number(port);
    // The question mark is there even without anything behind it.
    const auto target = url.path(QUrl::FullyEncoded).toLatin1() + '?' + url.query(QUrl::FullyEncoded).toLatin1();
    m_socket.write("GET " + target + " HTTP/1.1\r\nHost: " + host
                   + "\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Key: " + key
                   + "\r\nSec-WebSocket-Version: 13\r\n\r\n");
    const QByteArray expected = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
                                "Sec-WebSocket-Accept: "
        + accepted(key) + "\r\n\r\n";
    const auto reply = read(expected.size());
    expect(reply == expected, "the handshake is answered to the letter, not by: " + reply, {});
}

QJsonObject Stream::hear()
{
    for (;;) {
        const auto next = frame();
        if (next.opcode == question) {
            send(answer, next.payload);
            continue;
        }
        expect(next.opcode == text, "a message comes, not a frame of kind " + QString::number(next.opcode), {});
        const auto message = QJsonDocument::fromJson(next.payload).object();
        expect(!message.isEmpty(), "a message is a JSON object: " + next.payload, {});
        return message;
    }
}

void Stream::ping(const QByteArray &payload)
{
    send(question, payload);
    const auto next = frame();
    expect(next.opcode == answer && next.payload == payload, "a ping is answered with its own payload", {});
}

void Stream::close(quint16 status)
{
    send(goodbye, bigEndian(status));
    const auto next = frame();
    expect(next.opcode == goodbye, "a goodbye is answered with one", {});
    expect(next.payload == bigEndian(status), "it has the same status: " + next.payload.toHex(), {});
    const auto isOver = m_socket.state() == QAbstractSocket::UnconnectedState
        || m_socket.waitForDisconnected(answeredWithinMs);
    expect(isOver && m_socket.readAll().isEmpty(), "the server then ends the connection", {});
}

// What the library would stumble over ends this program, too.
Stream::Frame Stream::frame()
{
    const auto head = read(2);
    const auto first = static_cast<quint8>(head[0]);
    const auto second = static_cast<quint8>(head[1]);
    expect((first & 0xF0) == whole, "frames are whole and use no extension: " + head.toHex(), {});
    expect(!(second & masked), "a server masks nothing", {});
    quint64 length = second;
    if (second == 126)
        length = qFromBigEndian<quint16>(read(2).constData());
    else if (second == 127)
        length = qFromBigEndian<quint64>(read(8).constData());
    expect(length > 0 && length <= payloadBytesMax, "no frame is empty: the library waits for its payload", {});
    return {static_cast<quint8>(first & 0x0F), read(static_cast<qint64>(length))};
}

QByteArray Stream::read(qint64 bytes)
{
    while (m_socket.bytesAvailable() < bytes)
        expect(m_socket.waitForReadyRead(answeredWithinMs), "the server says something: " + m_socket.errorString(), {});
    return m_socket.read(bytes);
}

// Short ones are all that the library sends.
void Stream::send(quint8 opcode, const QByteArray &payload)
{
    const auto mask = random(4);
    QByteArray frame;
    frame.append(static_cast<char>(whole | opcode));
    frame.append(static_cast<char>(masked | payload.size()));
    frame.append(mask);
    for (int place = 0; place < payload.size(); ++place)
        frame.append(static_cast<char>(payload[place] ^ mask[place % 4]));
    m_socket.write(frame);
    expect(m_socket.waitForBytesWritten(answeredWithinMs), "the server reads what it is sent", {});
}
