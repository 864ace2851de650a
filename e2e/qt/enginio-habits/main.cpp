// The habits of the Qt library that a server must put up with, by Qt's own classes: one after the other, each told in a
// line when it went well.
//
//     enginio-habits http://127.0.0.1:8080 <backend id>

#include <QCoreApplication>
#include <QJsonArray>
#include <QJsonDocument>
#include <QTextStream>

#include "client.h"

namespace {

const QString todos = "/v1/objects/todos";

void say(const QString &what)
{
    QTextStream(stdout) << what << Qt::endl;
}

QString pathOf(const QJsonObject &object)
{
    return "/v1/" + object["objectType"].toString().replace('.', '/') + '/' + object["id"].toString();
}

QJsonObject reference(const QJsonObject &object)
{
    return {{"id", object["id"]}, {"objectType", object["objectType"]}};
}

QUrlQuery filter(const QJsonObject &filter)
{
    QUrlQuery query;
    query.addQueryItem("q", QJsonDocument(filter).toJson(QJsonDocument::Compact));
    return query;
}

QJsonObject registered(Client &client, const QString &name, const QString &password)
{
    const auto user = client.post("/v1/users", {{"username", name}, {"password", password}});
    expect(user.status == 201, "anybody registers", user);
    return user.body;
}

QString signedIn(Client &client, const QString &name, const QString &password)
{
    const auto tokens = client.login(name, password);
    expect(tokens.status == 200, name + " signs in", tokens);
    const auto user = tokens.body["enginio_data"].toObject()["user"].toObject();
    expect(user["username"] == name, "the reply says who signed in", tokens);
    return tokens.body["access_token"].toString();
}

bool isSignedInAs(Client &client, const QJsonObject &user)
{
    return client.get("/v1/user").body["id"] == user["id"];
}

// The token of the last user, whatever became of it, stands in the header of the next login.
void checkStaleTokens(Client &client, const QJsonObject &anna, const QJsonObject &bea)
{
    client.setToken(signedIn(client, "Anna Käsi", "a+b c"));
    expect(isSignedInAs(client, anna), "a password with a plus and a blank is right", {});
    const auto refused = client.login("bea", "wrong");
    expect(refused.error == QNetworkReply::ProtocolInvalidOperationError, "a wrong password is refused", refused);
    expect(isSignedInAs(client, anna), "a failed login takes nothing away", refused);
    client.setToken("0123456789abcdef");
    const auto stale = client.get("/v1/user");
    expect(stale.error == QNetworkReply::AuthenticationRequiredError, "a stale token is told", stale);
    client.setToken(signedIn(client, "bea", "secret"));
    expect(isSignedInAs(client, bea), "a stale token does not hinder a login", {});
    say("stale tokens");
}

// An edited object is sent as it was received, with all that the server wrote into it.
void checkWholeObjects(Client &client, const QJsonObject &bea)
{
    const QJsonObject properties{{"objectType", "objects.todos"}, {"title", "a+b"}, {"completed", false}};
    const auto created = client.post(todos, properties);
    expect(created.status == 201, "a todo is created", created);
    QUrlQuery include;
    include.addQueryItem("include", R"({"creator":{}})");
    auto whole = client.get(pathOf(created.body), include).body;
    expect(whole["creator"].toObject()["username"] == "bea", "the creator is included", {0, {}, whole});
    whole["completed"] = true;
    whole["createdAt"] = "2000-01-01T00:00:00.000Z";
    const auto updated = client.put(pathOf(created.body), whole);
    expect(updated.status == 200, "the whole object is taken back", updated);
    auto expected = created.body;
    expected["completed"] = true;
    expected["updatedAt"] = updated.body["updatedAt"];
    expect(updated.body == expected, "only what is the user's own has changed", updated);
    expect(updated.body["updatedAt"].toString() > created.body["updatedAt"].toString(), "it is newer", updated);
    expect(updated.body["creator"] == reference(bea), "the creator is a reference again", updated);
    say("whole objects");
}

void checkCounting(Client &client)
{
    auto query = filter({{"completed", true}});
    query.addQueryItem("count", QString());
    const auto counted = client.get(todos, query);
    expect(counted.body["count"] == 1, "count= asks for a number", counted);
    expect(!counted.body.contains("results"), "a count is no list", counted);
    say("count=");
}

// Qt leaves a plus as it is, and means it.
void checkPluses(Client &client, const QUrl &server, const QByteArray &backendId)
{
    expect(client.post(todos, {{"title", "a b"}}).status == 201, "another todo is created", {});
    const auto titled = [](Client &client) {
        const auto query = filter({{"title", "a+b"}});
        expect(query.query(QUrl::FullyEncoded).contains('+'), "Qt leaves a plus as it is", {});
        const auto results = client.get(todos, query).body["results"].toArray();
        expect(results.size() == 1, "one todo is found", {});
        return results.first().toObject()["title"].toString();
    };
    expect(titled(client) == "a+b", "a plus of the Qt library is a plus", {});
    Client browser(server, backendId);
    browser.setUserAgent("Mozilla/5.0");
    expect(titled(browser) == "a b", "a plus of a browser is a blank", {});
    say("a plus");
}

// The library cannot send a body with this DELETE, so the server cannot know whom it means.
void checkMembers(Client &client, const QJsonObject &bea)
{
    const auto group = client.post("/v1/usergroups", {{"name", "editors"}}).body;
    const auto members = pathOf(group) + "/members";
    const auto added = client.post(members, reference(bea));
    expect(added.status == 201 && added.body["username"] == "bea", "the member's user comes back", added);
    const auto refused = client.remove(members);
    expect(refused.status == 400, "a DELETE that names nobody is refused", refused);
    expect(refused.error == QNetworkReply::ProtocolInvalidOperationError, "Qt says so in its own way", refused);
    const auto reason = refused.body["errors"].toArray().first().toObject();
    expect(!reason["message"].toString().isEmpty(), "the reason can be read", refused);
    expect(client.get(members).body["results"].toArray().size() == 1, "nobody was removed", refused);
    say("members");
}

// The one DELETE that the library sends with a body.
void checkAccess(Client &client, const QJsonObject &anna)
{
    const auto todo = client.post(todos, {{"title", "shared"}}).body;
    const auto access = pathOf(todo) + "/access";
    const QJsonObject change{{"admin", QJsonArray{reference(anna)}}};
    const auto added = client.put(access, change);
    expect(added.body["admin"].toArray().size() == 2, "PUT adds", added);
    const auto withdrawn = client.remove(access, change);
    expect(withdrawn.status == 200 && withdrawn.body["admin"].toArray().size() == 1, "DELETE withdraws", withdrawn);
    for (const auto list : {"read", "update", "delete", "admin"})
        expect(withdrawn.body[list].isArray(), "all four lists come back", withdrawn);
    const auto removed = client.remove(pathOf(todo));
    expect(removed.status == 200 && removed.body.isEmpty(), "the todo is deleted", removed);
    const auto again = client.remove(pathOf(todo));
    expect(again.error == QNetworkReply::ContentNotFoundError, "it is gone", again);
    say("access");
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
    const QUrl server(arguments[1]);
    const auto backendId = arguments[2].toUtf8();
    Client client(server, backendId);
    const auto anna = registered(client, "Anna Käsi", "a+b c");
    const auto bea = registered(client, "bea", "secret");
    checkStaleTokens(client, anna, bea);
    checkWholeObjects(client, bea);
    checkCounting(client);
    checkPluses(client, server, backendId);
    checkMembers(client, bea);
    checkAccess(client, anna);
    return EXIT_SUCCESS;
}
