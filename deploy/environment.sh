# The environment of every node of a cluster. Sourced by ~/.bashrc, which Ray's launcher reads before each command.
export PATH="$HOME/segadapt-env/bin:$PATH"
# A submitted script joins this node's cluster instead of starting a private one.
export RAY_ADDRESS=auto
# Nobody without the token of ~/.ray/auth_token runs anything here.
export RAY_AUTH_MODE=token
export RAY_USAGE_STATS_ENABLED=0
# `ray submit` copies the script into the home folder: what else lies there must not hide our packages.
export PYTHONSAFEPATH=1
# A spot machine that was taken away has this long to be replaced before a stage goes on without it (default: 60 s).
export RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S=900
