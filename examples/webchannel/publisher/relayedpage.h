#pragma once

#include <QWebChannelAbstractTransport>

// One page behind the relay, as WebChannel wants to see it.
class RelayedPage : public QWebChannelAbstractTransport
{
    Q_OBJECT

public:
    using QWebChannelAbstractTransport::QWebChannelAbstractTransport;

    void sendMessage(const QJsonObject &message) override;

    // What the page said.
    void receive(const QString &text);

signals:
    // What the page is to be told.
    void said(const QString &text);
};
