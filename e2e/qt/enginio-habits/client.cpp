#include "client.h"

#include <QEventLoop>
#include <QJsonDocument>
#include <QTextStream>
#include <QTimer>
#include <QUuid>

#include <chrono>
#include <cstdlib>

using namespace std::chrono_literals;

namespace {

constexpr auto answeredWithin = 15s;

QByteArray json(const QJsonObject &object)
{
    return QJsonDocument(object).toJson(QJsonDocument::Compact);
}

QByteArray newRequestId()
{
    return QUuid::createUuid().toRfc4122().toHex();
}

} // namespace

Client::Client(const QUrl &server, const QByteArray &backendId)
    : m_server(server)
    , m_backendId(backendId)
    , m_agent(QByteArray("Qt:") + qVersion() + " Enginio:1.8.0 Language:C++")
{
}

Answer Client::get(const QString &path, const QUrlQuery &query)
{
    return wait(m_network.get(request(path, query)));
}

Answer Client::post(const QString &path, const QJsonObject &body)
{
    return wait(m_network.post(request(path), json(body)));
}

Answer Client::put(const QString &path, const QJsonObject &body)
{
    return wait(m_network.put(request(path), json(body)));
}

Answer Client::remove(const QString &path)
{
    return wait(m_network.deleteResource(request(path)));
}

Answer Client::remove(const QString &path, const QJsonObject &body)
{
    return wait(m_network.sendCustomRequest(request(path), "DELETE", json(body)));
}

// The library writes the form as QUrlQuery shows it to people: blanks, umlauts and pluses stay what they are.
Answer Client::login(const QString &name, const QString &password)
{
    QUrlQuery form;
    form.addQueryItem("grant_type", "password");
    form.addQueryItem("username", name);
    form.addQueryItem("password", password);
    auto login = request("/v1/auth/oauth2/token");
    login.setHeader(QNetworkRequest::ContentTypeHeader, "application/x-www-form-urlencoded");
    login.setRawHeader("Accept", "application/json");
    return wait(m_network.post(login, form.query().toUtf8()));
}

// The range names no unit, and its end is behind the last byte.
Answer Client::putChunk(const QString &path, const QByteArray &piece, qint64 start, qint64 total)
{
    auto chunk = request(path);
    chunk.setHeader(QNetworkRequest::ContentTypeHeader, "application/octet-stream");
    const auto end = start + piece.size();
    chunk.setRawHeader("Content-Range",
                       QByteArray::number(start) + '-' + QByteArray::number(end) + '/' + QByteArray::number(total));
    return wait(m_network.put(chunk, piece));
}

QNetworkRequest Client::request(const QString &path, const QUrlQuery &query) const
{
    QUrl url = m_server;
    url.setPath(path);
    if (!query.isEmpty())
        url.setQuery(query);
    QNetworkRequest request(url);
    request.setHeader(QNetworkRequest::ContentTypeHeader, "application/json");
    request.setHeader(QNetworkRequest::UserAgentHeader, m_agent);
    request.setRawHeader("Enginio-Backend-Id", m_backendId);
    request.setRawHeader("X-Request-Id", newRequestId());
    if (!m_token.isEmpty())
        request.setRawHeader("Authorization", "Bearer " + m_token);
    return request;
}

Answer Client::wait(QNetworkReply *reply)
{
    QEventLoop loop;
    QTimer::singleShot(answeredWithin, &loop, [reply] { reply->abort(); });
    QObject::connect(reply, &QNetworkReply::finished, &loop, &QEventLoop::quit);
    loop.exec();
    reply->deleteLater();
    Answer answer;
    answer.status = reply->attribute(QNetworkRequest::HttpStatusCodeAttribute).toInt();
    answer.error = reply->error();
    answer.body = QJsonDocument::fromJson(reply->readAll()).object();
    const auto sent = reply->request().rawHeader("X-Request-Id");
    m_lastRequestId = sent;
    expect(reply->rawHeader("X-Request-Id") == sent, "the request's own id comes back", answer);
    // Qt would ask for a name and a password.
    expect(!reply->hasRawHeader("WWW-Authenticate"), "nobody is asked for a password", answer);
    return answer;
}

void expect(bool holds, const QString &what, const Answer &answer)
{
    if (holds)
        return;
    QTextStream(stderr) << "expected that " << what << "; status " << answer.status << ", error " << answer.error
                        << ", body " << json(answer.body) << Qt::endl;
    std::exit(EXIT_FAILURE);
}
