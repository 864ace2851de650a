// A file and the notification stream as the Qt library handles them, by Qt's own classes: one after the other, each told
// in a line when it went well. The type `objects.photos` must be described, with the property `file` and a stream.
//
//     enginio-files http://127.0.0.1:8080 <backend id>

#include <QCoreApplication>
#include <QEventLoop>
#include <QJsonDocument>
#include <QTextStream>
#include <QTimer>

#include "client.h"
#include "stream.h"

namespace {

const QString photos = "/v1/objects/photos";
const QString fileName = QStringLiteral("Grüße & 世界.bin");

// What the library sends in one piece. The last piece of our file is a short one.
constexpr int pieceBytes = 512 * 1024;
constexpr int fileBytes = 2 * pieceBytes + 12'345;
constexpr int answeredWithinMs = 15'000;

void say(const QString &what)
{
    QTextStream(stdout) << what << Qt::endl;
}

// Every byte depends on its place, so that no piece can stand for another.
QByteArray content()
{
    QByteArray content(fileBytes, '\0');
    quint32 state = 1;
    for (auto &byte : content) {
        state = state * 1'664'525 + 1'013'904'223;
        byte = static_cast<char>(state >> 24);
    }
    return content;
}

QJsonObject created(Client &client, Stream &stream)
{
    const auto created = client.post(photos, {{"title", "with a file"}});
    expect(created.status == 201, "a photo is created", created);
    const auto heard = stream.hear();
    expect(heard["event"] == "create" && heard["data"] == created.body, "its creation is told", {0, {}, heard});
    expect(heard["origin"].toObject()["apiRequestId"] == client.lastRequestId(), "it is known as ours", {0, {}, heard});
    return created.body;
}

// The library takes the id of the next request from each reply, and gives up on any other status.
QJsonObject uploaded(Client &client, const QJsonObject &photo, const QByteArray &content)
{
    const QJsonObject target{{"id", photo["id"]}, {"objectType", photo["objectType"]}, {"propertyName", "file"}};
    const QJsonObject about{{"targetFileProperty", target}, {"file", QJsonObject{{"fileName", fileName}}}};
    auto reply = client.post("/v1/files", about);
    expect(reply.status == 201 && reply.body["status"] == "empty", "the file begins empty", reply);
    for (int start = 0; start < content.size(); start += pieceBytes) {
        expect(reply.body["objectType"] == "files", "the reply is the file", reply);
        const auto path = "/v1/files/" + reply.body["id"].toString() + "/chunk";
        const auto piece = content.mid(start, pieceBytes);
        reply = client.putChunk(path, piece, start, content.size());
        const auto isLast = start + piece.size() == content.size();
        const auto status = isLast ? "complete" : "incomplete";
        expect(reply.status == 200 && reply.body["status"] == status, QString("it is ") + status, reply);
    }
    expect(reply.body["fileSize"] == content.size(), "the file has its size", reply);
    expect(reply.body["fileName"] == fileName, "it has its name", reply);
    say("uploaded");
    return reply.body;
}

// A plain request of somebody who knows nothing of backends.
void checkDownload(Client &client, const QJsonObject &file, const QByteArray &content)
{
    const auto asked = client.get("/v1/files/" + file["id"].toString() + "/download_url");
    expect(asked.status == 200, "there is an address", asked);
    expect(!asked.body["expiresAt"].toString().isEmpty(), "it says until when", asked);
    const QUrl url(asked.body["expiringUrl"].toString());
    expect(url.isValid() && !url.isRelative() && url.fileName() == fileName, "it ends with the file's name", asked);
    QNetworkAccessManager network;
    auto *reply = network.get(QNetworkRequest(url));
    QEventLoop loop;
    QTimer::singleShot(answeredWithinMs, &loop, [reply] { reply->abort(); });
    QObject::connect(reply, &QNetworkReply::finished, &loop, &QEventLoop::quit);
    loop.exec();
    const auto status = reply->attribute(QNetworkRequest::HttpStatusCodeAttribute).toInt();
    expect(status == 200, "the file comes without any detour", {status, reply->error(), {}});
    expect(reply->header(QNetworkRequest::ContentLengthHeader) == content.size(), "its length is told", {});
    expect(reply->readAll() == content, "it is what was uploaded", {});
    say("downloaded");
}

QUrl streamUrl(Client &client)
{
    QUrlQuery query;
    const QJsonObject data{{"objectType", "objects.photos"}};
    query.addQueryItem("filter", QJsonDocument(QJsonObject{{"data", data}}).toJson(QJsonDocument::Compact));
    const auto ticket = client.get("/v1/stream_url", query);
    expect(ticket.status == 200, "there is a ticket", ticket);
    return QUrl(ticket.body["expiringUrl"].toString());
}

// Every write is told once, as the write of whoever made it. The last piece of the file has set the property.
void checkOwnWrites(Client &client, Stream &stream, const QJsonObject &photo, const QJsonObject &file)
{
    const auto path = photos + '/' + photo["id"].toString();
    const auto linked = stream.hear();
    const QJsonObject reference{{"id", file["id"]}, {"objectType", "files"}};
    expect(linked["event"] == "update", "the link is told as an update", {0, {}, linked});
    expect(linked["data"].toObject()["file"] == reference, "the photo has its file", {0, {}, linked});
    const auto updated = client.put(path, {{"title", "Grüße"}});
    const auto request = client.lastRequestId();
    expect(updated.status == 200, "the photo is changed", updated);
    const auto heard = stream.hear();
    expect(heard["event"] == "update" && heard["data"] == updated.body, "the change is told", {0, {}, heard});
    expect(heard["origin"].toObject()["apiRequestId"] == request, "it is known as ours", {0, {}, heard});
    const auto removed = client.remove(path);
    expect(removed.status == 200, "the photo is deleted", removed);
    const auto last = stream.hear();
    expect(last["event"] == "delete", "its end is told", {0, {}, last});
    expect(last["data"].toObject()["id"] == photo["id"], "it says whose end", {0, {}, last});
    expect(last["origin"].toObject()["apiRequestId"] == client.lastRequestId(), "it is ours, too", {0, {}, last});
    const auto gone = client.get("/v1/files/" + file["id"].toString());
    expect(gone.error == QNetworkReply::ContentNotFoundError, "the file went with it", gone);
    say("own writes");
}

} // namespace

int main(int argc, char *argv[])
{
    QCoreApplication app(argc, argv);
    const auto arguments = app.arguments();
    if (arguments.size() != 3) {
        QTextStream(stderr) << "expected the URL of a server and the id of a backend" << Qt::endl;
        return EXIT_FAILURE;
    }
    Client client(QUrl(arguments[1]), arguments[2].toUtf8());
    Stream stream(streamUrl(client));
    // The library's own tests do so first of all.
    stream.ping("Ping.");
    say("connected");
    const auto photo = created(client, stream);
    const auto bytes = content();
    const auto file = uploaded(client, photo, bytes);
    checkDownload(client, file, bytes);
    checkOwnWrites(client, stream, photo, file);
    stream.ping("Ping.");
    stream.close(1001);
    say("goodbye");
    return EXIT_SUCCESS;
}
