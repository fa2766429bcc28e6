package udap_test

import "context"

var ctx = context.Background()
