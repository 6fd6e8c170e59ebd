// One binary holds every Kubernetes component of the end-to-end cluster, etcd and kubectl, so that
// they share one build and one cache entry. The first argument selects the component:
//
//	node kube-apiserver --etcd-servers=…
package main

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/embed"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

var components = map[string]func() *cobra.Command{
	"etcd":                    etcd,
	"kube-apiserver":          apiserver.NewAPIServerCommand,
	"kube-controller-manager": controllermanager.NewControllerManagerCommand,
	"kube-scheduler":          func() *cobra.Command { return scheduler.NewSchedulerCommand() },
	"kube-proxy":              proxy.NewProxyCommand,
	// The kubelet installs its own signal handler; a context that already has one panics.
	"kubelet": func() *cobra.Command { return kubelet.NewKubeletCommand(context.Background()) },
	"kubectl": kubectl.NewDefaultKubectlCommand,
}

func main() {
	if len(os.Args) < 2 || components[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: node COMPONENT [FLAG]…; components:")
		for name := range components {
			fmt.Fprintln(os.Stderr, "  "+name)
		}
		os.Exit(2)
	}
	// Each component reads its flags from os.Args, as if it were a program of its own.
	component := os.Args[1]
	os.Args = os.Args[1:]
	command := components[component]()
	if component == "kubectl" {
		// kubectl prints its errors in its own form and exits by itself.
		kubectlutil.CheckErr(cli.RunNoErrOutput(command))
		return
	}
	os.Exit(cli.Run(command))
}

// etcd is a command around the embedded server: one member, no TLS, loopback only.
func etcd() *cobra.Command {
	var dir, client, peer string
	command := &cobra.Command{
		Use: "etcd",
		RunE: func(*cobra.Command, []string) error {
			cfg := embed.NewConfig()
			cfg.Name, cfg.Dir = "default", dir
			cfg.LogLevel = "warn"
			// The cluster is thrown away after a test: speed counts more than durability.
			cfg.UnsafeNoFsync = true
			clientURL, err := url.Parse(client)
			if err != nil {
				return err
			}
			peerURL, err := url.Parse(peer)
			if err != nil {
				return err
			}
			cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{*clientURL}, []url.URL{*clientURL}
			cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{*peerURL}, []url.URL{*peerURL}
			cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)

			server, err := embed.StartEtcd(cfg)
			if err != nil {
				return err
			}
			defer server.Close()
			stop := make(chan os.Signal, 1)
			signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)
			select {
			case <-stop:
				return nil
			case err := <-server.Err():
				return err
			}
		},
	}
	command.Flags().StringVar(&dir, "data-dir", "", "where the data lives")
	command.Flags().StringVar(&client, "client-url", "http://127.0.0.1:2379", "where clients connect")
	command.Flags().StringVar(&peer, "peer-url", "http://127.0.0.1:2380", "where peers would connect")
	return command
}
