#pragma once

#include <QJsonObject>
#include <QNetworkAccessManager>
#include <QNetworkReply>
#include <QNetworkRequest>
#include <QString>
#include <QUrl>
#include <QUrlQuery>

// What came back, or what Qt made of it.
struct Answer
{
    int status = 0;
    QNetworkReply::NetworkError error = QNetworkReply::NoError;
    QJsonObject body;
};

// Calls a backend in the way of the Qt library: its User-Agent, its headers, its bodies. One call at a time.
class Client
{
public:
    Client(const QUrl &server, const QByteArray &backendId);

    // Goes with every later request, the next login among them, as in the Qt library.
    void setToken(const QString &token) { m_token = token.toUtf8(); }
    // Without it this is a client that means a space by a plus.
    void setUserAgent(const QByteArray &agent) { m_agent = agent; }

    Answer get(const QString &path, const QUrlQuery &query = {});
    Answer post(const QString &path, const QJsonObject &body);
    Answer put(const QString &path, const QJsonObject &body);
    // As the operations of the Qt library send it: without a body, but with the type of one.
    Answer remove(const QString &path);
    Answer remove(const QString &path, const QJsonObject &body);
    Answer login(const QString &name, const QString &password);
    // One piece of a file that has so many bytes in all.
    Answer putChunk(const QString &path, const QByteArray &piece, qint64 start, qint64 total);

    // Of the last call: how the library knows its own writes again.
    QString lastRequestId() const { return QString::fromLatin1(m_lastRequestId); }

private:
    QNetworkRequest request(const QString &path, const QUrlQuery &query = {}) const;
    Answer wait(QNetworkReply *reply);

    QNetworkAccessManager m_network;
    QUrl m_server;
    QByteArray m_backendId;
    QByteArray m_token;
    QByteArray m_agent;
    QByteArray m_lastRequestId;
};

// Ends the program with a sentence unless this holds.
void expect(bool holds, const QString &what, const Answer &answer);
