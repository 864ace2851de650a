#include "thermostat.h"

namespace {

constexpr double coldest = 5;
constexpr double warmest = 30;

} // namespace

double Thermostat::target() const
{
    return m_target;
}

bool Thermostat::ask(double celsius)
{
    // A number that is none is in no range.
    const bool accepted = celsius >= coldest && celsius <= warmest;
    if (accepted && celsius != m_target) {
        m_target = celsius;
        emit targetChanged(celsius);
    }
    emit asked(celsius, accepted);
    return accepted;
}
