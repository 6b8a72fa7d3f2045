// Command go_client asks a KServe v2 gRPC server with grpc-go, for the end-to-end tests.
//
//	go_client [OPTION]... ADDRESS live         asks whether the server is live
//	go_client [OPTION]... ADDRESS infer N      N requests to the model simple, one after another
//	go_client [OPTION]... ADDRESS stream N     the same over one ModelStreamInfer
//	go_client [OPTION]... ADDRESS deadline MS  a request to the model delay that must exceed its deadline
//
// Request I adds and subtracts [I, I+1, ..., I+15] and [1, ..., 1]. Prints one line for each result. Exit status 1: an
// answer is wrong or an error; 2: wrong usage. The messages come from the .proto file, read at run time.
package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/bufbuild/protocompile"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

const (
	serviceName = "inference.GRPCInferenceService"
	size        = 16
)

type object = map[string]any

// client sends and receives messages as objects of their JSON form: byte fields are []byte, as encoding/json has them.
type client struct {
	connection *grpc.ClientConn
	service    protoreflect.ServiceDescriptor
}

type tensor struct {
	Name, Datatype string
	Shape          []string // int64 is text in the JSON form
}

type answer struct {
	ModelName         string   `json:"model_name"`
	ID                string   `json:"id"`
	Outputs           []tensor `json:"outputs"`
	RawOutputContents [][]byte `json:"raw_output_contents"`
}

func connect(address, protoFile, ca string) (*client, error) {
	compiler := protocompile.Compiler{
		Resolver: protocompile.WithStandardImports(&protocompile.SourceResolver{
			ImportPaths: []string{filepath.Dir(protoFile)},
		}),
	}
	files, err := compiler.Compile(context.Background(), filepath.Base(protoFile))
	if err != nil {
		return nil, err
	}
	service, ok := files.AsResolver().FindDescriptorByName(serviceName)
	if ok != nil {
		return nil, fmt.Errorf("%s has no service %s", protoFile, serviceName)
	}
	security := insecure.NewCredentials()
	if ca != "" {
		if security, err = credentials.NewClientTLSFromFile(ca, ""); err != nil {
			return nil, err
		}
	}
	connection, err := grpc.NewClient(address, grpc.WithTransportCredentials(security))
	if err != nil {
		return nil, err
	}
	return &client{connection, service.(protoreflect.ServiceDescriptor)}, nil
}

// method gives the method's path, and empty messages for its request and its reply.
func (c *client) method(name protoreflect.Name) (path string, request, reply *dynamicpb.Message, err error) {
	method := c.service.Methods().ByName(name)
	if method == nil {
		return "", nil, nil, fmt.Errorf("the .proto file has no method %s", name)
	}
	path = "/" + serviceName + "/" + string(name)
	return path, dynamicpb.NewMessage(method.Input()), dynamicpb.NewMessage(method.Output()), nil
}

// fill sets the message's fields from its JSON form.
func fill(message proto.Message, fields object) error {
	text, err := json.Marshal(fields)
	if err != nil {
		return err
	}
	return protojson.Unmarshal(text, message)
}

// read sets the fields of *into from the message.
func read(message proto.Message, into any) error {
	text, err := protojson.MarshalOptions{UseProtoNames: true, EmitUnpopulated: true}.Marshal(message)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}

func (c *client) call(ctx context.Context, name protoreflect.Name, fields object, into any) error {
	path, request, reply, err := c.method(name)
	if err != nil {
		return err
	}
	if err = fill(request, fields); err != nil {
		return err
	}
	if err = c.connection.Invoke(ctx, path, request, reply); err != nil {
		return err
	}
	return read(reply, into)
}

// numbers gives [first, first+step, ...].
func numbers(first, step int) []int32 {
	values := make([]int32, size)
	for i := range values {
		values[i] = int32(first + i*step)
	}
	return values
}

// raw gives the values as raw_input_contents has them.
func raw(values []int32) []byte {
	var buffer bytes.Buffer
	_ = binary.Write(&buffer, binary.LittleEndian, values)
	return buffer.Bytes()
}

func input(name string, shape ...int) object {
	return object{"name": name, "datatype": "INT32", "shape": shape}
}

func simple(i int) object {
	return object{
		"model_name":         "simple",
		"id":                 strconv.Itoa(i),
		"inputs":             []object{input("INPUT0", 1, size), input("INPUT1", 1, size)},
		"raw_input_contents": [][]byte{raw(numbers(i, 1)), raw(numbers(1, 0))},
	}
}

// check compares the answer with what request i asked for, and prints it.
func check(i int, got *answer) error {
	if got.ModelName != "simple" || got.ID != strconv.Itoa(i) {
		return fmt.Errorf("request %d: an answer of model %q to request %q", i, got.ModelName, got.ID)
	}
	want := map[string][]byte{"OUTPUT0": raw(numbers(i+1, 1)), "OUTPUT1": raw(numbers(i-1, 1))}
	if len(got.Outputs) != len(want) || len(got.RawOutputContents) != len(want) {
		return fmt.Errorf("request %d: %d outputs with %d contents", i, len(got.Outputs), len(got.RawOutputContents))
	}
	for at, output := range got.Outputs {
		expected, ok := want[output.Name]
		if !ok || output.Datatype != "INT32" || !slices.Equal(output.Shape, []string{"1", strconv.Itoa(size)}) {
			return fmt.Errorf("request %d: output %+v", i, output)
		}
		if !bytes.Equal(expected, got.RawOutputContents[at]) {
			return fmt.Errorf("request %d: %s is %x, expected %x", i, output.Name, got.RawOutputContents[at], expected)
		}
		delete(want, output.Name)
	}
	fmt.Printf("%d ok\n", i)
	return nil
}

func (c *client) live(ctx context.Context) error {
	var got struct {
		Live bool `json:"live"`
	}
	if err := c.call(ctx, "ServerLive", object{}, &got); err != nil {
		return err
	}
	fmt.Printf("live %t\n", got.Live)
	if !got.Live {
		return errors.New("the server is not live")
	}
	return nil
}

func (c *client) infer(ctx context.Context, count int) error {
	for i := range count {
		var got answer
		if err := c.call(ctx, "ModelInfer", simple(i), &got); err != nil {
			return fmt.Errorf("request %d: %w", i, err)
		}
		if err := check(i, &got); err != nil {
			return err
		}
	}
	return nil
}

// stream sends all requests while it receives. Answers may come in any order: their IDs tell which they answer.
func (c *client) stream(ctx context.Context, count int) error {
	path, _, reply, err := c.method("ModelStreamInfer")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	description := grpc.StreamDesc{StreamName: "ModelStreamInfer", ServerStreams: true, ClientStreams: true}
	stream, err := c.connection.NewStream(ctx, &description, path)
	if err != nil {
		return err
	}

	sent := make(chan error, 1)
	go func() {
		sent <- c.sendAll(stream, count)
	}()
	answered := make(map[int]bool)
	for {
		if err = stream.RecvMsg(reply); err == io.EOF {
			break
		} else if err != nil {
			return err
		}
		var got struct {
			ErrorMessage  string `json:"error_message"`
			InferResponse answer `json:"infer_response"`
		}
		if err = read(reply, &got); err != nil {
			return err
		}
		if got.ErrorMessage != "" {
			return fmt.Errorf("the stream says: %s", got.ErrorMessage)
		}
		i, err := strconv.Atoi(got.InferResponse.ID)
		if err != nil || i < 0 || i >= count || answered[i] {
			return fmt.Errorf("an answer to request %q", got.InferResponse.ID)
		}
		answered[i] = true
		if err = check(i, &got.InferResponse); err != nil {
			return err
		}
	}
	if len(answered) != count {
		return fmt.Errorf("the stream ended after %d of %d answers", len(answered), count)
	}
	return <-sent
}

func (c *client) sendAll(stream grpc.ClientStream, count int) error {
	for i := range count {
		_, request, _, err := c.method("ModelStreamInfer")
		if err != nil {
			return err
		}
		if err = fill(request, simple(i)); err != nil {
			return err
		}
		if err = stream.SendMsg(request); err != nil {
			return err
		}
	}
	return stream.CloseSend()
}

// deadline asks for an answer a second after the deadline.
func (c *client) deadline(ctx context.Context, milliseconds int) error {
	limit := time.Duration(milliseconds) * time.Millisecond
	fields := object{
		"model_name":         "delay",
		"parameters":         object{"delay_ms": object{"int64_param": milliseconds + 1000}},
		"inputs":             []object{input("INPUT0", size)},
		"raw_input_contents": [][]byte{raw(numbers(0, 1))},
	}
	begin := time.Now()
	ctx, cancel := context.WithDeadline(ctx, begin.Add(limit))
	defer cancel()
	var got answer
	err := c.call(ctx, "ModelInfer", fields, &got)
	took := time.Since(begin)
	fmt.Printf("%s after %d ms\n", status.Code(err), took.Milliseconds())
	if err == nil {
		return errors.New("the model answered in spite of the deadline")
	}
	if status.Code(err) != codes.DeadlineExceeded {
		return err
	}
	return nil
}

func run(c *client, command string, number int, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	switch command {
	case "live":
		return c.live(ctx)
	case "infer":
		return c.infer(ctx, number)
	case "stream":
		return c.stream(ctx, number)
	default:
		return c.deadline(ctx, number)
	}
}

func usage() {
	fmt.Fprintln(os.Stderr, "usage: go_client [OPTION]... ADDRESS live|infer N|stream N|deadline MS")
	flag.PrintDefaults()
	os.Exit(2)
}

func main() {
	protoFile := flag.String("proto", "wire/grpc_service.proto", "the service; its imports are in the same folder")
	ca := flag.String("ca", "", "connect by TLS, and trust the certificates in this file")
	timeout := flag.Duration("timeout", 30*time.Second, "for all of the command")
	flag.Usage = usage
	flag.Parse()

	arguments := map[string]int{"live": 2, "infer": 3, "stream": 3, "deadline": 3}
	number := 0
	var err error
	if flag.NArg() < 2 || flag.NArg() != arguments[flag.Arg(1)] {
		usage()
	}
	if flag.NArg() == 3 {
		if number, err = strconv.Atoi(flag.Arg(2)); err != nil || number < 1 {
			usage()
		}
	}
	c, err := connect(flag.Arg(0), *protoFile, *ca)
	if err == nil {
		err = run(c, flag.Arg(1), number, *timeout)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "go_client: %v\n", err)
		os.Exit(1)
	}
}
