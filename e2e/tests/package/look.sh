#!/bin/sh
# Runs inside the booted system, after pilvi.service. What it prints is looked at outside.
echo "active: $(systemctl is-active pilvi) $(systemctl show --property=StatusText --value pilvi)"
echo "ready: $(curl -sS http://127.0.0.1:8089/readyz)"
token=$(sed -n 's/.*token  *//p' /var/lib/pilvi/welcome)
echo "journal has the token: $(journalctl --unit pilvi | grep --count "$token")"
export PILVI_TOKEN="$token" HOME=/root
id=$(pilvi mar create hello --json | grep -o 'mar-eu-1-[a-z0-9]*' | head -n 1)
cp -r /hello /tmp/hello
cd /tmp/hello || exit 1
git init --quiet .
git add .
git -c user.name=a -c user.email=a@example.org commit --quiet --message x
git -c http.sslVerify=false push --quiet "https://any:$token@127.0.0.1:8443/git/$id" HEAD:refs/heads/master
# A request that comes before the app waits for it.
echo "app: $(curl -sS --header "Host: $id.localhost" http://127.0.0.1:8080/)"
pilvi doctor --json > /doctor.json
echo "doctor: $?"
systemctl restart pilvi
echo "again: $(curl -sS --header "Host: $id.localhost" http://127.0.0.1:8080/)"
systemctl stop pilvi
echo "stopped: $(systemctl show --property=Result --value pilvi) $(systemctl is-active pilvi)"
