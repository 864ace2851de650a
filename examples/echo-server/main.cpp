// An echo server for WebSockets: what a client says comes back, text as text and bytes as bytes.
//
// PORT           where to listen, 8080 if it is not set
// PING_INTERVAL  seconds between two pings to a client, 50 if it is not set, 0 for none

#include <QCoreApplication>
#include <QTextStream>
#include <QTimer>

#include <chrono>
#include <optional>

#include "echoserver.h"
#include "termination.h"

using namespace std::chrono_literals;

namespace {

// How long clients have to answer our goodbye.
constexpr auto goodbyeWithin = 1s;

int complain(const QString &what)
{
    QTextStream(stderr) << "echo-server: " << what << Qt::endl;
    return EXIT_FAILURE;
}

// A whole number from the environment, or nothing where it is none or too large.
std::optional<int> number(const char *name, int usual, int max)
{
    if (!qEnvironmentVariableIsSet(name))
        return usual;
    bool isNumber = false;
    const int value = qEnvironmentVariableIntValue(name, &isNumber);
    if (!isNumber || value < 0 || value > max)
        return std::nullopt;
    return value;
}

} // namespace

int main(int argc, char *argv[])
{
    QCoreApplication app(argc, argv);

    const auto port = number("PORT", 8080, 65535);
    if (!port)
        return complain("PORT must be a number up to 65535");
    const auto pingInterval = number("PING_INTERVAL", 50, 3600);
    if (!pingInterval)
        return complain("PING_INTERVAL must be a number of seconds up to 3600");

    EchoServer server{std::chrono::seconds(*pingInterval)};
    if (!server.listen(quint16(*port)))
        return complain(QString("port %1 cannot be listened on: %2").arg(*port).arg(server.errorString()));
    QTextStream(stdout) << "echo-server listens on port " << server.port() << Qt::endl;

    Termination termination;
    QObject::connect(&termination, &Termination::requested, &server, [&server] {
        server.close();
        QTimer::singleShot(goodbyeWithin, qApp, &QCoreApplication::quit);
    });
    return app.exec();
}
