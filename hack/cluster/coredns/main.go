// CoreDNS with those plugins that the local cluster's Corefile uses. The full program also compiles the client libraries of three
// clouds: twice the packages. CoreDNS documents this way of choosing plugins (coredns.io, "compile time enabling or disabling plugins").
package main

import (
	_ "github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"
	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/ready"
)

func main() {
	coremain.Run()
}
