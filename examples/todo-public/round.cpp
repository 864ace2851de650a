#include "round.h"

#include "todopublic.h"

Round::Round(TodoPublic &todos, const QString &title, QObject *parent)
    : QObject(parent)
    , m_todos(todos)
    , m_title(title)
{
    connect(&todos, &TodoPublic::connected, this, [this] { m_todos.create(m_title); });
    connect(&todos, &TodoPublic::created, this, [this](const QString &id) {
        m_id = id;
        advance();
    });
    connect(&todos, &TodoPublic::heard, this, [this](const QString &event, const QJsonObject &todo) {
        m_heard.append({event, todo});
        advance();
    });
}

void Round::advance()
{
    if (m_id.isEmpty())
        return;
    while (!m_heard.isEmpty()) {
        const auto [event, todo] = m_heard.takeFirst();
        if (todo["id"].toString() == m_id)
            take(event, todo);
    }
}

void Round::take(const QString &event, const QJsonObject &todo)
{
    const bool isTicked = todo["completed"].toBool();
    if (event != m_awaited || todo["title"].toString() != m_title || isTicked == (event == "create")) {
        emit failed(QString("expected the todo's %1, and heard its %2").arg(m_awaited, event));
    } else if (event == "create") {
        m_awaited = "update";
        m_todos.setCompleted(m_id, true);
    } else if (event == "update") {
        m_awaited = "delete";
        m_todos.remove(m_id);
    } else {
        emit finished();
    }
}
