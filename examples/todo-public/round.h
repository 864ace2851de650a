#pragma once

#include <QJsonObject>
#include <QList>
#include <QObject>
#include <QPair>
#include <QString>

class TodoPublic;

// One todo from its beginning to its end: created, ticked and deleted, each step once the one before has been heard of.
class Round : public QObject
{
    Q_OBJECT

public:
    Round(TodoPublic &todos, const QString &title, QObject *parent = nullptr);

signals:
    void finished();
    void failed(const QString &why);

private:
    void advance();
    void take(const QString &event, const QJsonObject &todo);

    TodoPublic &m_todos;
    const QString m_title;
    QString m_id;
    QString m_awaited = "create";
    // What was said and not yet looked at: messages may overtake the reply that tells the id.
    QList<QPair<QString, QJsonObject>> m_heard;
};
