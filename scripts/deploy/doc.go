// Package deploy has what an installation begins with: units of systemd, a compose
// file, configurations, and guides. Its tests run the guide's commands.
package deploy
