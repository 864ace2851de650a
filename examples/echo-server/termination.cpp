#include "termination.h"

#include <QSocketNotifier>

#include <csignal>
#include <sys/socket.h>
#include <unistd.h>

namespace {

// What a signal handler writes to, and the event loop reads from. A handler may do hardly more than that.
int ends[2];

void handle(int)
{
    const char byte = 1;
    // When it cannot be written, the process is already being told.
    [[maybe_unused]] const auto written = ::write(ends[0], &byte, sizeof byte);
}

} // namespace

Termination::Termination(QObject *parent)
    : QObject(parent)
{
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0)
        qFatal("no pair of sockets can be made");
    auto *notifier = new QSocketNotifier(ends[1], QSocketNotifier::Read, this);
    connect(notifier, &QSocketNotifier::activated, this, [this, notifier] {
        notifier->setEnabled(false);
        emit requested();
    });
    std::signal(SIGTERM, handle);
    std::signal(SIGINT, handle);
}
