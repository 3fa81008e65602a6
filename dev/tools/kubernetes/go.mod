module tools/kubernetes

go 1.26

tool k8s.io/kubernetes/cmd/kube-apiserver
tool k8s.io/kubernetes/cmd/kube-controller-manager
tool k8s.io/kubernetes/cmd/kubectl

require k8s.io/kubernetes v1.36.3
