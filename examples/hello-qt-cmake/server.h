#pragma once

#include <QTcpServer>

/// Answers every HTTP request with a greeting and closes the connection.
class Server : public QTcpServer
{
    Q_OBJECT

public:
    explicit Server(QObject *parent = nullptr);

private slots:
    void greet();
};
