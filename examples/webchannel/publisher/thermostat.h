#pragma once

#include <QObject>

// What is published: pages read its property, call its method and hear its signals.
class Thermostat : public QObject
{
    Q_OBJECT
    Q_PROPERTY(double target READ target NOTIFY targetChanged)

public:
    using QObject::QObject;

    double target() const;

    // Asks for another temperature. Says whether it can be had.
    Q_INVOKABLE bool ask(double celsius);

signals:
    void targetChanged(double celsius);
    // Somebody asked, with this outcome.
    void asked(double celsius, bool accepted);

private:
    double m_target = 20;
};
