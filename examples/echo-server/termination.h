#pragma once

#include <QObject>

// Tells of SIGTERM and SIGINT in the event loop, where anything may be done about them.
class Termination : public QObject
{
    Q_OBJECT

public:
    explicit Termination(QObject *parent = nullptr);

signals:
    void requested();
};
