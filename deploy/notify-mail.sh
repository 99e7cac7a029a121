#!/bin/sh
# Mail that a search has ended: a command for TUNER_NOTIFY_COMMAND, with your addresses and server.
# It gets the news as JSON on stdin. Not `sendmail`: the service may gain no privileges, which Postfix's needs.
set -eu

from=tuner@example.org
to=lab@example.org
server=smtp://mail.example.org

text=$(python3 -c 'import json, sys; print(json.load(sys.stdin)["text"])')
printf 'From: %s\r\nTo: %s\r\nSubject: tuner: a search has ended\r\n\r\n%s\r\n' "$from" "$to" "$text" |
    curl --silent --show-error --max-time 25 --mail-from "$from" --mail-rcpt "$to" --upload-file - "$server"
