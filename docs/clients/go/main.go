// A whole client of RadScribe in one file, to copy. It needs go.mod beside it and generated stubs:
//
//	go install google.golang.org/protobuf/cmd/protoc-gen-go@latest
//	go install google.golang.org/grpc/cmd/protoc-gen-go-grpc@latest
//	protoc -I ../../../proto --go_out=. --go_opt=module=radscribe.dev \
//	    --go-grpc_out=. --go-grpc_opt=module=radscribe.dev \
//	    radscribe/v1/{common,generator,labeler,release,report}.proto
//	go mod tidy && go run . 127.0.0.1:50051 IMAGE
//
// RADSCRIBE_TOKEN is sent as a bearer token. RADSCRIBE_CA, a file of CA certificates, switches TLS on.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	radscribe "radscribe.dev/proto/radscribe/v1"
)

const (
	attempts        = 3
	timeout         = 60 * time.Second
	maxMessageBytes = 128 * 1024 * 1024
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: client HOST:PORT IMAGE")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		report(err)
		os.Exit(1)
	}
}

func run(address, image string) error {
	data, err := os.ReadFile(image)
	if err != nil {
		return err
	}
	transport := insecure.NewCredentials()
	if ca := os.Getenv("RADSCRIBE_CA"); ca != "" {
		if transport, err = credentials.NewClientTLSFromFile(ca, ""); err != nil {
			return err
		}
	}
	connection, err := grpc.Dial(address, grpc.WithTransportCredentials(transport),
		grpc.WithDefaultCallOptions(grpc.MaxCallSendMsgSize(maxMessageBytes)))
	if err != nil {
		return err
	}
	defer connection.Close()
	service := radscribe.NewReportServiceClient(connection)
	request := &radscribe.GenerateReportRequest{
		Images:        []*radscribe.Image{{Data: data}},
		IncludeLabels: true,
	}
	for attempt := 1; ; attempt++ {
		err := streamReport(service, request)
		delay, again := retryDelay(err)
		if !again || attempt == attempts {
			return err
		}
		time.Sleep(delay)
	}
}

// streamReport prints what is known as soon as it is known: labels, the text as it is written, the report.
func streamReport(service radscribe.ReportServiceClient, request *radscribe.GenerateReportRequest) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	if token := os.Getenv("RADSCRIBE_TOKEN"); token != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
	}
	stream, err := service.StreamReport(ctx, request)
	if err != nil {
		return err
	}
	for {
		event, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, label := range event.GetLabels().GetLabels() {
			if label.State == radscribe.LabelState_LABEL_STATE_POSITIVE {
				fmt.Printf("%s %.2f\n", label.Name, label.Probability)
			}
		}
		fmt.Print(event.GetText().GetText())
		if report := event.GetReport(); report != nil {
			fmt.Printf("\n\nby release %s\n", report.Release)
			for _, warning := range report.Warnings {
				fmt.Printf("warning: %s\n", warning.Message)
			}
		}
	}
}

// retryDelay gives the delay of a RetryInfo: only that says that the same request may succeed later.
func retryDelay(err error) (time.Duration, bool) {
	for _, detail := range status.Convert(err).Details() {
		if retry, ok := detail.(*errdetails.RetryInfo); ok {
			delay := retry.GetRetryDelay()
			return time.Duration(delay.GetSeconds())*time.Second + time.Duration(delay.GetNanos()), true
		}
	}
	return 0, false
}

func report(err error) {
	failure := status.Convert(err)
	reason := ""
	for _, detail := range failure.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			reason = " " + detail.Reason
		case *errdetails.BadRequest:
			for _, violation := range detail.FieldViolations {
				defer fmt.Fprintf(os.Stderr, "field: %s\n", violation.Field)
			}
		}
	}
	fmt.Fprintf(os.Stderr, "%s%s: %s\n", failure.Code(), reason, failure.Message())
}
