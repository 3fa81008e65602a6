module tools/kubo

go 1.26

tool github.com/ipfs/kubo/cmd/ipfs

require github.com/ipfs/kubo v0.43.0
