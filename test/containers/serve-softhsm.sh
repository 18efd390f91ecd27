# Runs in the container: a token of its own, served on /share/p11.sock. TOKEN, PIN and SO_PIN come by environment.
set -eu
dir=$(mktemp -d)
mkdir "$dir/tokens"
printf 'directories.tokendir = %s/tokens\nobjectstore.backend = file\nlog.level = ERROR\n' "$dir" >"$dir/softhsm2.conf"
export SOFTHSM2_CONF="$dir/softhsm2.conf"
softhsm2-util --init-token --free --label "$TOKEN" --so-pin "$SO_PIN" --pin "$PIN"

# The server makes its socket for itself alone; whoever can reach the shared directory may connect.
(
  until [ -S /share/p11.sock ]; do sleep 0.1; done
  chmod 0777 /share/p11.sock
) &
exec p11-kit server --foreground --name /share/p11.sock \
  --provider /usr/lib/softhsm/libsofthsm2.so "pkcs11:token=$TOKEN"
