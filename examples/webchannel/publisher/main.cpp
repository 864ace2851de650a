// A thermostat that web pages can use wherever it stands: it connects to a relay and publishes itself there.
//
//     RELAY_SECRET=… thermostat wss://RELAY/publish

#include <QCommandLineParser>
#include <QCoreApplication>
#include <QSslCertificate>
#include <QSslConfiguration>
#include <QTextStream>
#include <QTimer>
#include <QWebChannel>

#include "relayconnection.h"
#include "thermostat.h"

namespace {

void say(const QString &what)
{
    QTextStream(stdout) << what << Qt::endl;
}

int complain(const QString &what)
{
    QTextStream(stderr) << "thermostat: " << what << Qt::endl;
    return EXIT_FAILURE;
}

} // namespace

int main(int argc, char *argv[])
{
    QCoreApplication app(argc, argv);
    QCoreApplication::setApplicationName("thermostat");

    QCommandLineParser parser;
    parser.setApplicationDescription("Publishes a thermostat to web pages through a relay.");
    parser.addHelpOption();
    parser.addPositionalArgument("url", "Where the relay is, such as wss://relay.example.org/publish.");
    const QCommandLineOption ca("ca", "Trust the certificates in this PEM file as well.", "file");
    parser.addOption(ca);
    parser.process(app);

    const QUrl url(parser.positionalArguments().value(0));
    if (!url.isValid() || url.host().isEmpty() || !url.scheme().startsWith("ws"))
        return complain("expected the address of a relay, such as ws://127.0.0.1:8080/publish");
    // Not an argument: others can read a command line.
    const auto secret = qgetenv("RELAY_SECRET");
    if (secret.isEmpty())
        return complain("set RELAY_SECRET to the secret of the relay");

    QNetworkRequest request(url);
    request.setRawHeader("Authorization", "Bearer " + secret);
    if (parser.isSet(ca)) {
        const auto trusted = QSslCertificate::fromPath(parser.value(ca));
        if (trusted.isEmpty())
            return complain("no certificate is in " + parser.value(ca));
        auto tls = QSslConfiguration::defaultConfiguration();
        tls.addCaCertificates(trusted);
        request.setSslConfiguration(tls);
    }

    Thermostat thermostat;
    QObject::connect(&thermostat, &Thermostat::asked, &app, [](double celsius, bool accepted) {
        say(QString("asked for %1: %2").arg(celsius).arg(accepted ? "accepted" : "refused"));
    });
    QWebChannel channel;
    channel.registerObject("thermostat", &thermostat);

    RelayConnection relay(channel, request);
    QObject::connect(&relay, &RelayConnection::connected, &app, [] { say("published"); });
    QObject::connect(&relay, &RelayConnection::disconnected, &app, [](const QString &why) {
        complain("not connected: " + why);
    });
    // The event loop must run before anything can be told.
    QTimer::singleShot(0, &relay, &RelayConnection::open);
    return app.exec();
}
