#include "relayedpage.h"

#include <QJsonDocument>
#include <QJsonObject>

void RelayedPage::sendMessage(const QJsonObject &message)
{
    emit said(QString::fromUtf8(QJsonDocument(message).toJson(QJsonDocument::Compact)));
}

void RelayedPage::receive(const QString &text)
{
    const auto message = QJsonDocument::fromJson(text.toUtf8());
    // Pages are strangers: what is no message is not for us.
    if (message.isObject())
        emit messageReceived(message.object(), this);
}
