// Public todos in a terminal: writes them over REST and hears of every change over a WebSocket.
//
//     todo-public http://127.0.0.1:8080 "Bring milk"

#include <QCommandLineParser>
#include <QCoreApplication>
#include <QSslCertificate>
#include <QSslConfiguration>
#include <QTextStream>
#include <QTimer>

#include <chrono>

#include "round.h"
#include "todopublic.h"

using namespace std::chrono_literals;

namespace {

constexpr auto roundWithin = 20s;

void say(const QString &what)
{
    QTextStream(stdout) << what << Qt::endl;
}

int complain(const QString &what)
{
    QTextStream(stderr) << "todo-public: " << what << Qt::endl;
    return EXIT_FAILURE;
}

void leave(const QString &why)
{
    QCoreApplication::exit(complain(why));
}

QString inWords(const QString &event, const QJsonObject &todo)
{
    const auto tick = todo["completed"].toBool() ? "[x]" : "[ ]";
    return QString("heard %1 %2 %3 %4").arg(event, todo["id"].toString(), tick, todo["title"].toString());
}

} // namespace

int main(int argc, char *argv[])
{
    QCoreApplication app(argc, argv);
    QCoreApplication::setApplicationName("todo-public");

    QCommandLineParser parser;
    parser.setApplicationDescription("Writes todos over REST and tells of every change that the WebSocket brings.");
    parser.addHelpOption();
    parser.addPositionalArgument("url", "Where the server is, such as http://127.0.0.1:8080.");
    parser.addPositionalArgument("title", "A todo to add; there may be none or several.", "[title...]");
    const QCommandLineOption round("round", "Add one todo, tick it, delete it, hear of each, and end.");
    const QCommandLineOption backend("backend", "The data backend (EDS), where the server has no todo page.", "id");
    const QCommandLineOption gateway("gateway", "The gateway (MWS), where the server has no todo page.", "id");
    const QCommandLineOption ca("ca", "Trust the certificates in this PEM file as well.", "file");
    parser.addOptions({round, backend, gateway, ca});
    parser.process(app);

    QStringList titles = parser.positionalArguments();
    if (titles.isEmpty())
        return complain("expected the URL of a server; see --help");
    const QUrl url(titles.takeFirst());
    if (!url.isValid() || url.host().isEmpty())
        return complain(url.toString() + " is no URL such as http://127.0.0.1:8080");
    if (parser.isSet(round) && titles.size() != 1)
        return complain("--round takes one title");

    QSslConfiguration tls = QSslConfiguration::defaultConfiguration();
    if (parser.isSet(ca)) {
        const auto trusted = QSslCertificate::fromPath(parser.value(ca));
        if (trusted.isEmpty())
            return complain("no certificate is in " + parser.value(ca));
        tls.addCaCertificates(trusted);
    }

    TodoPublic todos({url, parser.value(backend), parser.value(gateway), tls});
    QObject::connect(&todos, &TodoPublic::connected, &app, [] { say("connected"); });
    QObject::connect(&todos, &TodoPublic::created, &app, [](const QString &id) { say("created " + id); });
    QObject::connect(&todos, &TodoPublic::heard, &app, [](const QString &event, const QJsonObject &todo) {
        say(inWords(event, todo));
    });
    QObject::connect(&todos, &TodoPublic::failed, &app, &leave);

    if (parser.isSet(round)) {
        auto *walk = new Round(todos, titles.first(), &app);
        QObject::connect(walk, &Round::finished, &app, &QCoreApplication::quit);
        QObject::connect(walk, &Round::failed, &app, &leave);
        QTimer::singleShot(roundWithin, &app, [] { leave("the round took too long"); });
    } else {
        QObject::connect(&todos, &TodoPublic::connected, &app, [&todos, titles] {
            for (const auto &title : titles)
                todos.create(title);
        });
    }
    // The event loop must run before anything can quit it.
    QTimer::singleShot(0, &todos, &TodoPublic::listen);
    return app.exec();
}
