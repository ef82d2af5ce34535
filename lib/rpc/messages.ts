// Made from the files in proto/ by `npm run proto`: change those.

/** A Buffer when it was received; anything of bytes may be sent. */
type Bytes = Uint8Array;

/** What may be given where a message is sent: a field that is absent has its default. */
export type Sent<T> = T extends Bytes
  ? T
  : T extends readonly (infer Item)[]
    ? readonly Sent<Item>[]
    : T extends object
      ? { readonly [Field in keyof T]?: Sent<T[Field]> | undefined }
      : T;

/** One method of a service. */
export interface Method<Request, Response, RequestStream, ResponseStream> {
  readonly request: Request;
  readonly response: Response;
  readonly requestStream: RequestStream;
  readonly responseStream: ResponseStream;
}

/** How urgent a request is. */
export type Priority =
  /** Taken as PRIORITY_INTERACTIVE. */
  | 'PRIORITY_UNSPECIFIED'
  /** Somebody waits for the answer: goes first. */
  | 'PRIORITY_INTERACTIVE'
  /** Bulk work: takes what interactive work leaves, at most half of every queue. */
  | 'PRIORITY_BATCH';

/** How the X-ray passed through the chest. */
export type View =
  /** Not known. In a request: read from the DICOM file where it says so, else taken as frontal. */
  | 'VIEW_UNSPECIFIED'
  /** Postero-anterior, frontal: what the models are trained on. */
  | 'VIEW_PA'
  /** Antero-posterior, frontal, often of a patient in bed. */
  | 'VIEW_AP'
  /** From the side. */
  | 'VIEW_LATERAL';

/** The type of a tensor's elements. */
export type DataType =
  /** Not valid. */
  | 'DATA_TYPE_UNSPECIFIED'
  /** IEEE 754 half precision, 2 bytes. What crosses a hop. */
  | 'DATA_TYPE_FLOAT16'
  /** IEEE 754 single precision, 4 bytes. */
  | 'DATA_TYPE_FLOAT32';

/** A dense tensor. */
export interface Tensor {
  /** The type of the elements. */
  readonly dtype: DataType;
  /** The size of each axis, at least 1 each, at most 8 axes. */
  readonly shape: readonly number[];
  /**
   * The elements, row-major, little-endian: exactly product(shape) times the size of an element,
   * in bytes.
   */
  readonly data: Bytes;
}

/** One stage of the work on one request. */
export interface StageTiming {
  /**
   * `queue`, `decode`, `preprocess`, `inference`, `prefill`, `first_token`, `generate`; the gateway
   * adds `vision`, `labeler` and `generator`, each with its hop, and calls their own `vision.queue`.
   * `gateway` is the whole, from the admission of the request to its report.
   */
  readonly stage: string;
  /** When it began, in milliseconds after the service that reports it got the request; at least 0. */
  readonly startMs: number;
  /** How long it took, in milliseconds; at least 0. */
  readonly durationMs: number;
}

/** What was found out about a picture while it was decoded. Nothing of it identifies a patient. */
export interface ImageInfo {
  /** `jpeg`, `png`, `tiff` or `dicom`. */
  readonly format: string;
  /** Pixels. */
  readonly width: number;
  /** Pixels. */
  readonly height: number;
  /** Significant bits of a stored sample, 1 to 16. */
  readonly bitsStored: number;
  /** From the DICOM file; unspecified where it does not say, and for other formats. */
  readonly view: View;
  /** The size of the encoded picture in bytes. */
  readonly encodedBytes: number;
}

/**
 * The last model of the chain: fusion encoder and decoder, which write the report.
 * For the gateway; applications call ReportService.
 */
export interface GeneratorServiceMethods {
  /**
   * Generates one report text. Concurrent calls for one release share the running batch, a step at a
   * time. The stream is any number of `delta`, then one `result`. A cancelled call leaves the batch
   * before its next step. It changes nothing and may be repeated; the same seed gives the same text.
   *
   * INVALID_ARGUMENT: `tokens` is not a tensor of the release's shape (TENSOR_INVALID), `text` is
   * too long (TEXT_TOO_LONG), a decoding option is out of its range (DECODING_INVALID,
   * TOO_MANY_BEAMS).
   * FAILED_PRECONDITION: this replica does not hold `release` (reason RELEASE_NOT_HELD).
   * RESOURCE_EXHAUSTED: the queue is full (reason QUEUE_FULL), with a RetryInfo.
   * DEADLINE_EXCEEDED, CANCELLED: the work was dropped. UNAVAILABLE: shutting down, or no answer.
   */
  readonly generate: Method<GenerateRequest, GenerateResponse, false, true>;
}

/** What to write a report of. */
export interface GenerateRequest {
  /** The id of the release that must answer, `rs-` and 24 hex digits. Required. */
  readonly release: string;
  /** float16 or float32 [N, C]: `tokens` of an EmbedResponse of the same release. Required. */
  readonly tokens: Tensor | null;
  /**
   * The text part of the encoder's input: `label_text` of a ClassifyResponse for the label
   * variants, the clinical indication for the plain ones. What is over the release's limit of tokens
   * is left out. At most 10000 characters.
   */
  readonly text: string;
  /** How to decode; a field that is absent has the release's default. */
  readonly decoding: DecodingOptions | null;
  /** How urgent it is. */
  readonly priority: Priority;
  /** Send `delta` as text is decoded; else only the `result` comes. */
  readonly stream: boolean;
}

/** How a report is decoded. A field that is absent has the release's default. */
export interface DecodingOptions {
  /** The search; the default of most releases is greedy. */
  readonly strategy?: DecodingStrategy;
  /** Hypotheses of beam search, 1 to 32, and at most what the server's batch holds. */
  readonly beams?: number;
  /**
   * Beam search ranks by log-probability / length^length_penalty, -10 to 10; above 0 favours long
   * reports.
   */
  readonly lengthPenalty?: number;
  /** Divides the logits before sampling, above 0 to 100. */
  readonly temperature?: number;
  /** Samples from the k likeliest tokens; 0 means all. */
  readonly topK?: number;
  /** Samples from the fewest tokens whose probability reaches p, above 0 to 1. */
  readonly topP?: number;
  /** Seed of sampling, any 32-bit number. */
  readonly seed?: number;
  /** Above 1 makes tokens less likely that were used; above 0 to 100. */
  readonly repetitionPenalty?: number;
  /** No n-gram of this many tokens occurs twice, up to 1024; 0 sets no limit. */
  readonly noRepeatNgram?: number;
  /** Tokens before the end may come, 0 to max_tokens. */
  readonly minTokens?: number;
  /** Tokens at most, 1 and up; no more than the release allows. */
  readonly maxTokens?: number;
  /** When beam search ends. */
  readonly earlyStopping?: EarlyStopping;
}

/** How the next token is chosen. */
export type DecodingStrategy =
  /** The release's default. */
  | 'DECODING_STRATEGY_UNSPECIFIED'
  /** The likeliest token. */
  | 'DECODING_STRATEGY_GREEDY'
  /** Beam search. */
  | 'DECODING_STRATEGY_BEAM'
  /** A random one, by probability. */
  | 'DECODING_STRATEGY_SAMPLE';

/** When beam search ends. */
export type EarlyStopping =
  /** The release's default. */
  | 'EARLY_STOPPING_UNSPECIFIED'
  /** When no running hypothesis is likely to do better. */
  | 'EARLY_STOPPING_LIKELY'
  /** As soon as there are `beams` finished hypotheses. */
  | 'EARLY_STOPPING_FIRST'
  /** When no running hypothesis can do better. */
  | 'EARLY_STOPPING_NEVER';

/** One message of the stream. */
export interface GenerateResponse {
  /** The release that answers: the one asked for. */
  readonly release: string;
  /** More text. */
  readonly delta?: TextDelta;
  /** The whole; the last message. */
  readonly result?: GenerateResult;
  readonly event?: 'delta' | 'result';
}

/** Text as it is decoded. Put together, the deltas are the text of the result. */
export interface TextDelta {
  /** What follows the text sent before; never half a character. */
  readonly text: string;
  /** Tokens decoded so far, this one included. */
  readonly tokens: number;
}

/** A whole report text. */
export interface GenerateResult {
  /** `FINDINGS: ... IMPRESSION: ...`. */
  readonly text: string;
  /** Why it ended. */
  readonly finishReason: FinishReason;
  /** Tokens decoded, the end token included. */
  readonly generatedTokens: number;
  /** Tokens of the encoder's text part. */
  readonly textTokens: number;
  /** Steps of the batch that the request took part in. */
  readonly steps: number;
  /** Mean natural logarithm of the probability of the tokens, at most 0. */
  readonly meanLogProbability: number;
  /** `queue`, `prefill`, `first_token` (from the request to the first token), `generate`. */
  readonly timings: readonly StageTiming[];
}

/** Why a report ended. */
export type FinishReason =
  /** Not known. */
  | 'FINISH_REASON_UNSPECIFIED'
  /** The model said that it is complete. */
  | 'FINISH_REASON_END'
  /** It came to `max_tokens`: the text is cut off. */
  | 'FINISH_REASON_LENGTH';

/**
 * The second model of the chain: the 14 CheXpert observations of an embedded picture.
 * For the gateway; applications call ReportService.
 */
export interface LabelerServiceMethods {
  /**
   * Classifies one embedding. Concurrent calls for one release share a run of the model. It changes
   * nothing and may be repeated.
   *
   * INVALID_ARGUMENT: `pooled` is not a tensor of the release's shape (reason TENSOR_INVALID).
   * FAILED_PRECONDITION: this replica does not hold `release` (reason RELEASE_NOT_HELD).
   * RESOURCE_EXHAUSTED: the queue is full (reason QUEUE_FULL), with a RetryInfo.
   * DEADLINE_EXCEEDED, CANCELLED: the work was dropped. UNAVAILABLE: shutting down, or no answer.
   */
  readonly classify: Method<ClassifyRequest, ClassifyResponse, false, false>;
}

/** What to classify. */
export interface ClassifyRequest {
  /** The id of the release that must answer, `rs-` and 24 hex digits. Required. */
  readonly release: string;
  /** float16 or float32 [C]: `pooled` of an EmbedResponse of the same release. Required. */
  readonly pooled: Tensor | null;
  /** How urgent it is. */
  readonly priority: Priority;
}

/** The observations of one picture. */
export interface ClassifyResponse {
  /** The release that answered: the one asked for. */
  readonly release: string;
  /** All 14, in the order of CheXpert. */
  readonly labels: readonly Label[];
  /**
   * The label stream of the label variants: what is positive, written out, e.g.
   * `cardiomegaly; edema`. Empty where nothing is.
   */
  readonly labelText: string;
  /** `queue`, `inference`. */
  readonly timings: readonly StageTiming[];
}

/** One CheXpert observation. */
export interface Label {
  /** Its name as CheXpert writes it, e.g. `Pleural Effusion`. */
  readonly name: string;
  /** Calibrated probability that it is present, 0 to 1. */
  readonly probability: number;
  /** The release's decision threshold on `probability`, 0 to 1. */
  readonly threshold: number;
  /** Whether `probability` reaches `threshold`. */
  readonly state: LabelState;
}

/** What is said of an observation. */
export type LabelState =
  /** Nothing is said. */
  | 'LABEL_STATE_UNSPECIFIED'
  /** Present. */
  | 'LABEL_STATE_POSITIVE'
  /** Absent. */
  | 'LABEL_STATE_NEGATIVE'
  /** Possible; the classifier does not say so of itself, reports do. */
  | 'LABEL_STATE_UNCERTAIN';

/**
 * A release: one immutable set of graphs, weights, tokenizers, thresholds and preprocessing, named
 * after its content. It is the unit that is trained, promoted and served.
 */
export interface Release {
  /** `releases/{id}`. */
  readonly name: string;
  /** `rs-` and 24 hex digits of the SHA-256 of its manifest; what requests name it by. */
  readonly id: string;
  /** `chexnet`, `resnet101`, `vit`, `chexnet-label`, `resnet101-label` or `vit-label`. */
  readonly variant: string;
  /** The preset of its sizes, e.g. `paper` or `demo`. */
  readonly preset: string;
  /** Whether it answers. */
  readonly state: ReleaseState;
  /** Channels that point to it, e.g. `stable`. */
  readonly channels: readonly string[];
  /** Its share of its variant's traffic, 0 to 1. */
  readonly trafficShare: number;
  /** `none` or `int8`. */
  readonly quantisation: string;
  /** Pixels of the square that pictures are brought to. */
  readonly imageSize: number;
  /** The longest report in tokens. */
  readonly maxReportTokens: number;
  /** The size of all its files in bytes. */
  readonly bytes: number;
}

/** Whether a release answers. */
export type ReleaseState =
  /** Not known. */
  | 'RELEASE_STATE_UNSPECIFIED'
  /** In the store, and no channel that is served points to it. */
  | 'RELEASE_STATE_STORED'
  /** Being loaded and warmed beside those that serve. */
  | 'RELEASE_STATE_LOADING'
  /** Answers. */
  | 'RELEASE_STATE_SERVING'
  /** Could not be loaded; what served before goes on. */
  | 'RELEASE_STATE_FAILED';

/** Which releases to list. */
export interface ListReleasesRequest {
  /** At most this many, 1 to 1000; 0 means 50. */
  readonly pageSize: number;
  /** `next_page_token` of the page before; empty for the first. */
  readonly pageToken: string;
}

/** One page of releases, those of the channels first. */
export interface ListReleasesResponse {
  /** The releases. */
  readonly releases: readonly Release[];
  /** For the next page; empty where there is none. */
  readonly nextPageToken: string;
}

/** Which release to get. */
export interface GetReleaseRequest {
  /** `releases/{id}`. Required. */
  readonly name: string;
}

/**
 * The gateway: chest radiographs in, a radiology report out. Not a medical device.
 *
 * Every error carries a google.rpc.ErrorInfo of the domain `radscribe` with a stable reason; a bad
 * field also a BadRequest, a full queue or a used up quota also a RetryInfo.
 */
export interface ReportServiceMethods {
  /**
   * Writes the report of one study. It changes nothing and may be repeated.
   *
   * INVALID_ARGUMENT: a field is wrong; the message, the BadRequest and ErrorInfo name it.
   * UNAUTHENTICATED, PERMISSION_DENIED: where the gateway asks for a token.
   * RESOURCE_EXHAUSTED: the gateway or a model is full, or the caller's quota is used up.
   * UNAVAILABLE: no release is served yet, or a model service cannot be reached; try again.
   * DEADLINE_EXCEEDED, CANCELLED: the work was dropped; nothing goes on.
   */
  readonly generateReport: Method<GenerateReportRequest, GenerateReportResponse, false, false>;
  /**
   * Writes the report of one study and sends what is known as soon as it is: the pictures as they
   * are accepted, the labels, the text as it is decoded, and last the whole. Errors as above.
   */
  readonly streamReport: Method<GenerateReportRequest, StreamReportResponse, false, true>;
  /**
   * Writes the reports of many studies, of lower priority unless a request says otherwise. Answers
   * come as they are done, in any order; each item has its own status, and the call itself fails
   * only as a whole (UNAUTHENTICATED, CANCELLED, DEADLINE_EXCEEDED, UNAVAILABLE).
   */
  readonly batchGenerateReports: Method<
    BatchGenerateReportsRequest,
    BatchGenerateReportsResponse,
    true,
    true
  >;
  /**
   * Lists the releases of the store, and which of them answer.
   *
   * INVALID_ARGUMENT: `page_size` is out of its range, or `page_token` is not one of ours.
   */
  readonly listReleases: Method<ListReleasesRequest, ListReleasesResponse, false, false>;
  /**
   * One release.
   *
   * INVALID_ARGUMENT: `name` is not `releases/{id}`. NOT_FOUND: there is no such release.
   */
  readonly getRelease: Method<GetReleaseRequest, Release, false, false>;
}

/** One study. */
export interface GenerateReportRequest {
  /**
   * The caller's name for this request, at most 128 characters, nothing of the patient. It is sent
   * back, and decides to which share of split traffic the request belongs. Made up where empty.
   */
  readonly requestId: string;
  /**
   * The pictures of the study, 1 to 8. The report is written from one, PA before others; the labels
   * are those of all frontal views.
   */
  readonly images: readonly Image[];
  /** Why the study was made, at most 2000 characters; used by the plain variants. */
  readonly indication: string;
  /** The id of a release that the gateway serves, `rs-` and 24 hex digits. */
  readonly release?: string;
  /** A channel, e.g. `stable`. */
  readonly channel?: string;
  /** A variant, e.g. `vit-label`; traffic may be split between releases of it. */
  readonly variant?: string;
  /** How to decode; a field that is absent has the release's default. */
  readonly decoding: DecodingOptions | null;
  /** How urgent it is. */
  readonly priority: Priority;
  /** Also classify for a plain variant, which does not need the labels itself. */
  readonly includeLabels: boolean;
  readonly target?: 'release' | 'channel' | 'variant';
}

/** One picture of a study. */
export interface Image {
  /**
   * JPEG, PNG (8 or 16 bit), TIFF or DICOM Part 10, as it comes; at most 64 MiB and 40 megapixels.
   * Required.
   */
  readonly data: Bytes;
  /** The view where the caller knows it; goes before what a DICOM file says. */
  readonly view: View;
}

/** A report. */
export interface GenerateReportResponse {
  /** As in the request, or made up. */
  readonly requestId: string;
  /** The text. */
  readonly report: Report | null;
  /** All 14 observations in the order of CheXpert; empty for a plain variant that was not asked. */
  readonly labels: readonly Label[];
  /** The release that answered, at every stage. */
  readonly release: string;
  /** Its variant. */
  readonly variant: string;
  /** The index of the picture that the text is written from. */
  readonly imageIndex: number;
  /** The pictures, in the order of the request. */
  readonly images: readonly ImageInfo[];
  /** What the caller must know to judge the report. */
  readonly warnings: readonly Warning[];
  /** Where the time went, by start. */
  readonly timings: readonly StageTiming[];
  /** Tokens in and out. */
  readonly tokens: TokenCounts | null;
  /** Why the text ended. */
  readonly finishReason: FinishReason;
  /** Mean natural logarithm of the probability of the text's tokens, at most 0. */
  readonly meanLogProbability: number;
}

/** The sections of a report. */
export interface Report {
  /** What is seen. Empty where the model wrote none. */
  readonly findings: string;
  /** What it means. Empty where the model wrote none. */
  readonly impression: string;
}

/** What a caller must know to judge a report. */
export interface Warning {
  /**
   * Stable, e.g. `LATERAL_ONLY`, `LATERAL_NOT_USED`, `VIEW_NOT_PA`, `FRONTAL_NOT_USED`,
   * `OUT_OF_DISTRIBUTION`, `REPORT_TRUNCATED`.
   */
  readonly code: string;
  /** The picture or option meant, e.g. `images[1]`. */
  readonly field: string;
  /** A sentence for people. */
  readonly message: string;
}

/** Tokens in and out. */
export interface TokenCounts {
  /** Visual tokens. */
  readonly image: number;
  /** Tokens of label or indication text. */
  readonly text: number;
  /** Tokens of the report. */
  readonly generated: number;
}

/** One message of StreamReport. */
export interface StreamReportResponse {
  /** A picture was decoded and embedded. */
  readonly imageAccepted?: ImageAccepted;
  /** The observations. */
  readonly labels?: LabelSet;
  /** More text. */
  readonly text?: TextDelta;
  /** The whole; the last message. */
  readonly report?: GenerateReportResponse;
  readonly event?: 'imageAccepted' | 'labels' | 'text' | 'report';
}

/** A picture was decoded and embedded. */
export interface ImageAccepted {
  /** Its index in the request. */
  readonly index: number;
  /** What it was. */
  readonly image: ImageInfo | null;
}

/** The observations of a study. */
export interface LabelSet {
  /** All 14, in the order of CheXpert. */
  readonly labels: readonly Label[];
}

/** One study of many. */
export interface BatchGenerateReportsRequest {
  /** The caller's name for this item, at most 128 characters, not used before in this call. Required. */
  readonly itemId: string;
  /** The study. */
  readonly request: GenerateReportRequest | null;
}

/** What became of one study. */
export interface BatchGenerateReportsResponse {
  /** As in its request. */
  readonly itemId: string;
  /** Its report. */
  readonly report?: GenerateReportResponse;
  /** Why it has none. */
  readonly error?: Status;
  readonly result?: 'report' | 'error';
}

/**
 * The `Status` type defines a logical error model that is suitable for
 * different programming environments, including REST APIs and RPC APIs. It is
 * used by [gRPC](https://github.com/grpc). Each `Status` message contains
 * three pieces of data: error code, error message, and error details.
 *
 * You can find out more about this error model and how to work with it in the
 * [API Design Guide](https://cloud.google.com/apis/design/errors).
 */
export interface Status {
  /**
   * The status code, which should be an enum value of
   * [google.rpc.Code][google.rpc.Code].
   */
  readonly code: number;
  /**
   * A developer-facing error message, which should be in English. Any
   * user-facing error message should be localized and sent in the
   * [google.rpc.Status.details][google.rpc.Status.details] field, or localized
   * by the client.
   */
  readonly message: string;
  /**
   * A list of messages that carry the error details.  There is a common set of
   * message types for APIs to use.
   */
  readonly details: readonly Any[];
}

export interface Any {
  readonly type_url: string;
  readonly value: Bytes;
}

/**
 * Trains variants into releases, and moves the channels that releases are served from.
 * For the people who train and operate; applications call ReportService.
 */
export interface TrainerServiceMethods {
  /**
   * Makes a training run and puts it into the queue. The same `request_id` with the same run gives
   * the run that it made before, so a retry trains nothing twice.
   *
   * INVALID_ARGUMENT: a field of `config` is wrong (CONFIG_INVALID, which names it, DATA_UNKNOWN,
   * PRESET_INVALID), or `request_id` made another run (REQUEST_ID_REUSED).
   */
  readonly createTrainingRun: Method<CreateTrainingRunRequest, TrainingRun, false, false>;
  /**
   * Gives a run as it is now.
   *
   * NOT_FOUND: there is no such run (RUN_NOT_FOUND).
   */
  readonly getTrainingRun: Method<GetTrainingRunRequest, TrainingRun, false, false>;
  /**
   * Lists the runs, the newest first.
   *
   * INVALID_ARGUMENT: `page_size` is out of its range. NOT_FOUND: `page_token` names no run.
   */
  readonly listTrainingRuns: Method<
    ListTrainingRunsRequest,
    ListTrainingRunsResponse,
    false,
    false
  >;
  /**
   * Ends a run for good: at once where it waits, after the step under way where it trains. A run that
   * has ended stays as it is.
   *
   * NOT_FOUND: there is no such run (RUN_NOT_FOUND).
   */
  readonly cancelTrainingRun: Method<CancelTrainingRunRequest, TrainingRun, false, false>;
  /**
   * Sends the events of a run from a given one on, those that were and those that come, until the run
   * ends. A call that broke goes on with the `sequence` of the last event it saw.
   *
   * NOT_FOUND: there is no such run (RUN_NOT_FOUND).
   */
  readonly watchTrainingRun: Method<WatchTrainingRunRequest, TrainingRunEvent, false, true>;
  /**
   * Judges a release anew on a dataset, beside the best constant report and the nearest neighbour.
   * Takes minutes: give it a deadline that does.
   *
   * NOT_FOUND: there is no such release (RELEASE_NOT_FOUND). INVALID_ARGUMENT: `data` is no dataset
   * (DATA_UNKNOWN). FAILED_PRECONDITION: it has no study to judge on (DATASET_EMPTY).
   * RESOURCE_EXHAUSTED: another evaluation is under way (EVALUATION_BUSY).
   */
  readonly evaluateRelease: Method<EvaluateReleaseRequest, EvaluateReleaseResponse, false, false>;
  /**
   * Lists the releases of the store, by id.
   *
   * INVALID_ARGUMENT: `page_size` is out of its range, or `page_token` is not one of ours.
   */
  readonly listReleases: Method<ListReleasesRequest, ListReleasesResponse, false, false>;
  /**
   * Gives a release of the store.
   *
   * NOT_FOUND: there is no such release (RELEASE_NOT_FOUND).
   */
  readonly getRelease: Method<GetReleaseRequest, Release, false, false>;
  /**
   * Points a channel at a release. Refused for a release that is worse than the channel's on one of
   * the gate's metrics, unless forced.
   *
   * NOT_FOUND: there is no such release (RELEASE_NOT_FOUND). FAILED_PRECONDITION: the release is worse
   * (RELEASE_WORSE, with both values in the metadata), or another moved the channel meanwhile
   * (CHANNEL_MOVED).
   */
  readonly promoteRelease: Method<PromoteReleaseRequest, Channel, false, false>;
  /**
   * Points a channel at the release that it pointed to before.
   *
   * NOT_FOUND: there is no such channel (CHANNEL_NOT_FOUND). FAILED_PRECONDITION: it never pointed to
   * another, or another moved the channel meanwhile (CHANNEL_MOVED).
   */
  readonly rollbackChannel: Method<RollbackChannelRequest, Channel, false, false>;
}

/** A run of training, from a dataset to a release. */
export interface TrainingRun {
  /** `trainingRuns/{run}`. */
  readonly name: string;
  /** Where it stands. */
  readonly state: TrainingRunState;
  /**
   * The whole config as JSON, defaults filled in; its fields are those of `radscribe train
   * --print-config`.
   */
  readonly configJson: string;
  /** The channel that gets the release; empty for none. */
  readonly channel: string;
  /** When it was made, RFC 3339. */
  readonly createTime: string;
  /** When anything of it last changed, RFC 3339. */
  readonly updateTime: string;
  /** `releases/{id}` of the release that it made; empty until it has. */
  readonly release: string;
  /** Where training is; absent before it has begun. */
  readonly progress?: TrainingProgress;
  /** What ended it; absent where nothing did. */
  readonly error?: TrainingError;
  /** Whether it was asked to end. */
  readonly cancelRequested: boolean;
}

/** Where a run stands. */
export type TrainingRunState =
  /** Not known. */
  | 'TRAINING_RUN_STATE_UNSPECIFIED'
  /** Waits for its turn. */
  | 'TRAINING_RUN_STATE_QUEUED'
  /** Trains. */
  | 'TRAINING_RUN_STATE_RUNNING'
  /** Was stopped with a checkpoint, and goes on when the trainer next looks. */
  | 'TRAINING_RUN_STATE_INTERRUPTED'
  /** Made its release. */
  | 'TRAINING_RUN_STATE_SUCCEEDED'
  /** Ended by an error. */
  | 'TRAINING_RUN_STATE_FAILED'
  /** Ended because it was asked to. */
  | 'TRAINING_RUN_STATE_CANCELLED';

/** Where training is. */
export interface TrainingProgress {
  /** `prepare`, `labels`, `stage1`, `stage2`, `refit`, `features`, or `evaluate: ...`. */
  readonly stage: string;
  /** Of the stage, from 0. */
  readonly epoch: number;
  /** Optimiser steps of the stage that are done, 0 to `total_steps`. */
  readonly step: number;
  /** Optimiser steps of the whole stage. */
  readonly totalSteps: number;
  /** Mean loss of the last steps; absent where nothing is trained. */
  readonly loss?: number;
  /** Studies a second, lately. */
  readonly studiesPerSecond: number;
  /** Seconds that the stage will still take, by estimate; absent where none can be made. */
  readonly etaSeconds?: number;
}

/** What ended a run. */
export interface TrainingError {
  /** For programs, e.g. `LOSS_NOT_FINITE`, `DATASET_EMPTY`, `DISK_FULL`. */
  readonly reason: string;
  /** For people. It names no patient. */
  readonly message: string;
}

/** Which run to make. */
export interface CreateTrainingRunRequest {
  /**
   * Any text of the caller's that no other run has, at most 128 characters, e.g. a UUID; empty for
   * none, and then a retry makes another run.
   */
  readonly requestId: string;
  /**
   * The config as JSON; what it leaves out has the defaults of its preset, then the paper's.
   * Required: `variant` and `data`.
   */
  readonly configJson: string;
  /** The channel that gets the release; empty for none. */
  readonly channel: string;
}

/** Which run to get. */
export interface GetTrainingRunRequest {
  /** `trainingRuns/{run}`. Required. */
  readonly name: string;
}

/** Which runs to list. */
export interface ListTrainingRunsRequest {
  /** At most this many, 1 to 1000; 0 means 50. */
  readonly pageSize: number;
  /** `next_page_token` of the page before; empty for the first. */
  readonly pageToken: string;
}

/** One page of runs. */
export interface ListTrainingRunsResponse {
  /** The runs, the newest first. */
  readonly trainingRuns: readonly TrainingRun[];
  /** For the next page; empty where there is none. */
  readonly nextPageToken: string;
}

/** Which run to end. */
export interface CancelTrainingRunRequest {
  /** `trainingRuns/{run}`. Required. */
  readonly name: string;
}

/** Which run to watch. */
export interface WatchTrainingRunRequest {
  /** `trainingRuns/{run}`. Required. */
  readonly name: string;
  /** Only events after this one; 0 for all. */
  readonly afterSequence: number;
}

/** Something that happened in a run. */
export interface TrainingRunEvent {
  /** Counts from 1 within the run. */
  readonly sequence: number;
  /** When, RFC 3339. */
  readonly time: string;
  /** `state`, `progress`, `metrics`, `checkpoint`, `warning` or `release`. */
  readonly kind: string;
  /** What, as a JSON object; its fields depend on the kind. */
  readonly dataJson: string;
}

/** Which release to judge, on what. */
export interface EvaluateReleaseRequest {
  /** `releases/{id}`. Required. */
  readonly name: string;
  /** `mimic:FOLDER`, `iu:FOLDER` or `phantom:N`; empty for the dataset that it was trained on. */
  readonly data: string;
  /** `validate` or `test`; empty for `test`. */
  readonly split: string;
  /** At most so many studies; 0 for what its config says. */
  readonly studies: number;
}

/** What was measured. */
export interface EvaluateReleaseResponse {
  /** `releases/{id}`. */
  readonly name: string;
  /** The paper's tables IV to VII, then the classifier's. */
  readonly tables: readonly EvaluationTable[];
}

/** One table. */
export interface EvaluationTable {
  /** For programs: `language`, `tokens`, `clinical`, `clinical5` or `classifier`. */
  readonly id: string;
  /** For people. */
  readonly title: string;
  /** Studies that were judged. */
  readonly studies: number;
  /** The release, then the baselines. */
  readonly rows: readonly EvaluationRow[];
}

/** One row of a table. */
export interface EvaluationRow {
  /** `model`, `constant` or `nearest`. */
  readonly subject: string;
  /** What was measured. */
  readonly values: readonly MeasuredValue[];
}

/** One figure. */
export interface MeasuredValue {
  /** e.g. `microF1`. */
  readonly metric: string;
  /** CIDEr goes up to 10, all others to 1. */
  readonly value: number;
  /** Lower bound of the 95 % confidence interval; absent where none was computed. */
  readonly low?: number;
  /** Upper bound. */
  readonly high?: number;
}

/** Where to point a channel. */
export interface PromoteReleaseRequest {
  /** `releases/{id}`. Required. */
  readonly name: string;
  /** e.g. `stable`. Required. */
  readonly channel: string;
  /** The channel's share of its variant's traffic, 0 to 1; absent leaves it to the gateway. */
  readonly weight?: number;
  /** Promote a release that is worse than the channel's. */
  readonly force: boolean;
  /** The move happens only where the channel is still at this generation; 0 does not look. */
  readonly expectedGeneration: number;
}

/** Which channel to point back. */
export interface RollbackChannelRequest {
  /** e.g. `stable`. Required. */
  readonly channel: string;
  /** The move happens only where the channel is still at this generation; 0 does not look. */
  readonly expectedGeneration: number;
}

/** A channel after its move. */
export interface Channel {
  /** e.g. `stable`. */
  readonly channel: string;
  /** `releases/{id}` that it points to. */
  readonly release: string;
  /** `releases/{id}` that it pointed to before; empty where there is none. */
  readonly previousRelease: string;
  /** Counts its moves. */
  readonly generation: number;
}

/**
 * The first model of the chain: decodes a radiograph and turns it into visual tokens.
 * For the gateway; applications call ReportService.
 */
export interface VisionServiceMethods {
  /**
   * Decodes, preprocesses and embeds one picture. Concurrent calls for one release share a run of
   * the model. It changes nothing and may be repeated.
   *
   * INVALID_ARGUMENT: `image` is not a picture that can be decoded (reasons IMAGE_* and DICOM_*).
   * FAILED_PRECONDITION: this replica does not hold `release` (reason RELEASE_NOT_HELD).
   * RESOURCE_EXHAUSTED: the queue is full (reason QUEUE_FULL), with a RetryInfo.
   * DEADLINE_EXCEEDED, CANCELLED: the work was dropped. UNAVAILABLE: shutting down, or no answer.
   */
  readonly embed: Method<EmbedRequest, EmbedResponse, false, false>;
}

/** What to embed. */
export interface EmbedRequest {
  /** The id of the release that must answer, `rs-` and 24 hex digits. Required. */
  readonly release: string;
  /** JPEG, PNG (8 or 16 bit), TIFF or DICOM Part 10, at most 64 MiB and 40 megapixels. Required. */
  readonly image: Bytes;
  /** How urgent it is. */
  readonly priority: Priority;
}

/** The embedding of one picture. */
export interface EmbedResponse {
  /** The release that answered: the one asked for. */
  readonly release: string;
  /** float16 [N, C]: N visual tokens of C channels, pooled where the release says so. */
  readonly tokens: Tensor | null;
  /** float16 [C]: the picture as a whole. */
  readonly pooled: Tensor | null;
  /** What the picture was. */
  readonly image: ImageInfo | null;
  /**
   * How far `pooled` lies from the pictures the release was trained on: 0 and up, 1 is the
   * threshold calibrated with the release, above it the report should not be relied on. Absent
   * where the release has no calibration.
   */
  readonly outOfDistribution?: number;
  /** `decode`, `preprocess`, `queue`, `inference`. */
  readonly timings: readonly StageTiming[];
}
