# Which Qt of the stack a project is built with.

# A line "version qmake" for every Qt of the stack that programs can be built with, the oldest first.
installed_qts() {
    local name program facts version
    for name in /usr/lib/qt5/bin/qmake /usr/lib/*/qt5/bin/qmake /usr/lib/qt6/bin/qmake /usr/lib/*/qt6/bin/qmake \
        qmake-qt5 qmake5 qmake6 qmake; do
        program=$(command -v "$name") || continue
        facts=$("$program" -query 2>/dev/null) || continue
        [[ $facts =~ (^|$'\n')QT_VERSION:([^$'\n']*) ]] || continue
        version=${BASH_REMATCH[2]}
        # The tools may be there without the headers.
        [[ $facts =~ (^|$'\n')QT_INSTALL_HEADERS:([^$'\n']*) ]] && [ -d "${BASH_REMATCH[2]}/QtCore" ] || continue
        echo "$version $program"
    done | sort -V -s -k 1,1 | awk '!seen[$1]++'
}

# What the project or its owner asks for; nothing when they leave it to us. The file wins over the variable.
requested_qt() {
    if [ -f "$1/.qt_runtime" ]; then
        tr -d '[:space:]' <"$1/.qt_runtime"
    else
        printf %s "${QT_VERSION:-}"
    fi
}

# select_qt INSTALLED REQUESTED "MAJORS": the line of the Qt to build with. "5.15" and "5" stand for what is installed
# of them. Without a request the project's own preference counts, and then Qt 5, for which the platform was made.
select_qt() {
    local installed=$1 requested=$2 major
    if [ -n "$requested" ]; then
        awk -v wanted="$requested" '$1 == wanted || index($1, wanted ".") == 1 { found = $0 } END { print found }' \
            <<<"$installed"
        return
    fi
    for major in ${3:-5 6}; do
        awk -v major="$major." 'index($1, major) == 1 { found = $0 } END { print found }' <<<"$installed" | grep . && return
    done
    true
}

# The Debian package that brings a Qt module: package_of 5 websockets.
package_of() {
    local major=$1 module=$2
    case "$major:$module" in
    5:core | 5:network | 5:sql | 5:gui | 5:widgets | 5:testlib | 5:xml | 5:concurrent | 5:dbus) echo qtbase5-dev ;;
    5:qml | 5:quick) echo qtdeclarative5-dev ;;
    5:multimedia) echo qtmultimedia5-dev ;;
    5:script) echo qtscript5-dev ;;
    5:*) echo "libqt5${module}5-dev" ;;
    6:core | 6:network | 6:sql | 6:gui | 6:widgets | 6:testlib | 6:xml | 6:concurrent | 6:dbus) echo qt6-base-dev ;;
    6:qml | 6:quick) echo qt6-declarative-dev ;;
    6:core5compat) echo qt6-5compat-dev ;;
    6:svg) echo libqt6svg6-dev ;;
    6:*) echo "qt6-${module}-dev" ;;
    esac
}

# Reads the output of qmake or CMake and names the Debian packages of the Qt modules that it did not find.
missing_packages() {
    local major=$1 module
    {
        sed -n 's/.*Unknown module(s) in QT: *//p' "$2"
        grep -Eo 'Failed to find Qt component "[A-Za-z0-9]+"' "$2" | grep -Eo '"[^"]+"'
        grep -Eo 'provided by "Qt[56][A-Za-z0-9]*"' "$2" | sed 's/.*"Qt[56]//'
    } | tr -d '"' | tr 'A-Z ' 'a-z\n' | grep . | sort -u |
        while read -r module; do package_of "$major" "$module"; done | sort -u | paste -sd ' '
}
