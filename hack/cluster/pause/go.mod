module slipway.dev/hack/pause

go 1.26

tool slipway.dev/hack/pause
