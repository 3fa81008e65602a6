module tools/bacalhau

go 1.26

tool github.com/bacalhau-project/bacalhau

require github.com/bacalhau-project/bacalhau v1.9.3
