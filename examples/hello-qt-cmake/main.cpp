#include "server.h"

#include <QCoreApplication>
#include <QTextStream>

int main(int argc, char **argv)
{
    QCoreApplication application(argc, argv);
    Server server;
    const quint16 port = qEnvironmentVariableIsSet("PORT") ? quint16(qEnvironmentVariableIntValue("PORT")) : 5000;
    if (!server.listen(QHostAddress::Any, port)) {
        QTextStream(stderr) << "Port " << port << " cannot be bound: " << server.errorString() << '\n';
        return 1;
    }
    QTextStream(stdout) << "Listening on port " << port << '\n';
    return application.exec();
}
