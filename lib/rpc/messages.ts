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
  /** Treated as PRIORITY_INTERACTIVE; as PRIORITY_BATCH within BatchGenerateReports. */
  | 'PRIORITY_UNSPECIFIED'
  /**
   * A caller is waiting for the answer: scheduled ahead of batch work, refused at once by a full
   * queue.
   */
  | 'PRIORITY_INTERACTIVE'
  /**
   * Bulk work: uses the capacity that interactive work leaves, at most half of every queue. The gateway
   * retries it while a queue is full.
   */
  | 'PRIORITY_BATCH';

/** The direction in which the X-ray passed through the chest. */
export type View =
  /** Not known. In a request: read from the DICOM file if it states the view, else treated as frontal. */
  | 'VIEW_UNSPECIFIED'
  /** Postero-anterior, frontal: the view that the models are trained on. */
  | 'VIEW_PA'
  /** Antero-posterior, frontal; usual for patients in bed. */
  | 'VIEW_AP'
  /** From the side. */
  | 'VIEW_LATERAL';

/** The type of a tensor's elements. */
export type DataType =
  /** Not valid. */
  | 'DATA_TYPE_UNSPECIFIED'
  /** IEEE 754 half precision, 2 bytes. The type that services send to each other. */
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
   * The elements, row-major, little-endian; its length in bytes is product(shape) times the size of
   * one element.
   */
  readonly data: Bytes;
}

/** The time that one stage of the work on a request took. */
export interface StageTiming {
  /**
   * A model service reports `queue`, `decode`, `preprocess`, `inference`, `prefill`, `first_token` and
   * `generate`. The gateway prefixes them with the service, e.g. `vision.queue`, and adds `vision`,
   * `labeler` and `generator`: the whole call of the service, network included. `gateway` is the whole
   * request, from its admission to its report.
   */
  readonly stage: string;
  /** Start in milliseconds after the reporting service received the request; at least 0. */
  readonly startMs: number;
  /** Duration in milliseconds; at least 0. */
  readonly durationMs: number;
}

/** Properties of an image that decoding revealed. None of them identifies a patient. */
export interface ImageInfo {
  /** `jpeg`, `png`, `tiff` or `dicom`. */
  readonly format: string;
  /** Width in pixels. */
  readonly width: number;
  /** Height in pixels. */
  readonly height: number;
  /** Significant bits of a stored sample, 1 to 16. */
  readonly bitsStored: number;
  /** The view that the DICOM file states; unspecified if it states none, and for other formats. */
  readonly view: View;
  /** Size of the encoded image in bytes. */
  readonly encodedBytes: number;
}

/**
 * The last models of the chain: fusion encoder and decoder, which write the report.
 * For the gateway; applications call ReportService.
 */
export interface GeneratorServiceMethods {
  /**
   * Generates one report text. Concurrent calls for one release share the running batch, a step at a
   * time. With `stream`, `accepted` comes first, then any number of `delta`; the last message is
   * always `result`. A cancelled call leaves the batch before its next step. The call has no side
   * effects and may be repeated; the same seed gives the same text.
   *
   * INVALID_ARGUMENT: `tokens` is not a tensor of the release's shape (TENSOR_INVALID), `text` is
   * too long (TEXT_TOO_LONG), a decoding option is out of its range (DECODING_INVALID,
   * TOO_MANY_BEAMS).
   * FAILED_PRECONDITION: this replica does not hold `release` (reason RELEASE_NOT_HELD).
   * RESOURCE_EXHAUSTED: the queue is full (reason QUEUE_FULL), with a RetryInfo.
   * DEADLINE_EXCEEDED, CANCELLED: the work was dropped. UNAVAILABLE: the service is shutting down or
   * cannot be reached.
   */
  readonly generate: Method<GenerateRequest, GenerateResponse, false, true>;
}

/** The input of one report. */
export interface GenerateRequest {
  /** The id of the release that must answer, `rs-` and 24 hex digits. Required. */
  readonly release: string;
  /** float16 or float32 [N, C]: `tokens` of an EmbedResponse of the same release. Required. */
  readonly tokens: Tensor | null;
  /**
   * The text part of the encoder's input: the labels of the study as text, e.g.
   * `cardiomegaly; possible edema`, for the label variants; the clinical indication for the plain
   * ones. Tokens above the release's limit are cut off. At most 10000 characters.
   */
  readonly text: string;
  /** Decoding options; an absent field has the release's default. */
  readonly decoding: DecodingOptions | null;
  /** How urgent the request is. */
  readonly priority: Priority;
  /** Send `accepted` and `delta` messages; otherwise only the `result` is sent. */
  readonly stream: boolean;
}

/** How a report is decoded. An absent field has the release's default. */
export interface DecodingOptions {
  /** The search strategy; the default of most releases is greedy. */
  readonly strategy?: DecodingStrategy;
  /** Hypotheses of beam search, 1 to 32, and at most the size of the server's batch. */
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
  /** Above 1 makes tokens that were already used less likely; above 0 to 100. */
  readonly repetitionPenalty?: number;
  /** No n-gram of this many tokens may occur twice, up to 1024; 0 sets no limit. */
  readonly noRepeatNgram?: number;
  /** Minimum length in tokens, 0 to `max_tokens`. */
  readonly minTokens?: number;
  /** Maximum length in tokens, 1 and up; no more than the release allows. */
  readonly maxTokens?: number;
  /** When beam search ends. */
  readonly earlyStopping?: EarlyStopping;
}

/** How the next token is chosen. */
export type DecodingStrategy =
  /** The release's default. */
  | 'DECODING_STRATEGY_UNSPECIFIED'
  /** The most likely token. */
  | 'DECODING_STRATEGY_GREEDY'
  /** Beam search. */
  | 'DECODING_STRATEGY_BEAM'
  /** A random token, drawn by probability. */
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
  /** The release that answers: that of the request. */
  readonly release: string;
  /** The next piece of text. */
  readonly delta?: TextDelta;
  /** The complete text; the last message. */
  readonly result?: GenerateResult;
  /** The request was admitted; the first message with `stream`. */
  readonly accepted?: GenerationAccepted;
  readonly event?: 'delta' | 'result' | 'accepted';
}

/** A piece of text as it is decoded. All deltas joined are the text of the result. */
export interface TextDelta {
  /** The text that follows the previous delta; never a part of a character. */
  readonly text: string;
  /** Tokens decoded so far. */
  readonly tokens: number;
}

/** A complete report text. */
export interface GenerateResult {
  /** `FINDINGS: ... IMPRESSION: ...`. */
  readonly text: string;
  /** Why decoding ended. */
  readonly finishReason: FinishReason;
  /** Tokens decoded, the end token included. */
  readonly generatedTokens: number;
  /** Tokens of the encoder's text part. */
  readonly textTokens: number;
  /** Decoding steps of the batch in which the request took part. */
  readonly steps: number;
  /** Mean natural logarithm of the probability of the tokens, at most 0. */
  readonly meanLogProbability: number;
  /** `queue`, `prefill`, `first_token` (from the request to the first token), `generate`. */
  readonly timings: readonly StageTiming[];
}

/** Why decoding ended. */
export type FinishReason =
  /** Not known. */
  | 'FINISH_REASON_UNSPECIFIED'
  /** The model wrote its end token: the report is complete. */
  | 'FINISH_REASON_END'
  /** The text reached `max_tokens` and is cut off. */
  | 'FINISH_REASON_LENGTH';

/**
 * This replica holds the release, the request is valid, and the queue has admitted it: from here on
 * only this release can answer.
 */
export interface GenerationAccepted {}

/**
 * The second model of the chain: classifies the 14 CheXpert observations of an embedded image.
 * For the gateway; applications call ReportService.
 */
export interface LabelerServiceMethods {
  /**
   * Classifies one embedding. Concurrent calls for one release share a run of the model. The call has
   * no side effects and may be repeated.
   *
   * INVALID_ARGUMENT: `pooled` is not a tensor of the release's shape (reason TENSOR_INVALID).
   * FAILED_PRECONDITION: this replica does not hold `release` (reason RELEASE_NOT_HELD).
   * RESOURCE_EXHAUSTED: the queue is full (reason QUEUE_FULL), with a RetryInfo.
   * DEADLINE_EXCEEDED, CANCELLED: the work was dropped. UNAVAILABLE: the service is shutting down or
   * cannot be reached.
   */
  readonly classify: Method<ClassifyRequest, ClassifyResponse, false, false>;
}

/** An embedding to classify. */
export interface ClassifyRequest {
  /** The id of the release that must answer, `rs-` and 24 hex digits. Required. */
  readonly release: string;
  /** float16 or float32 [C]: `pooled` of an EmbedResponse of the same release. Required. */
  readonly pooled: Tensor | null;
  /** How urgent the request is. */
  readonly priority: Priority;
}

/** The observations of one image. */
export interface ClassifyResponse {
  /** The release that answered: that of the request. */
  readonly release: string;
  /** All 14 observations, in the order of CheXpert. */
  readonly labels: readonly Label[];
  /** `queue`, `inference`. */
  readonly timings: readonly StageTiming[];
}

/** One CheXpert observation. */
export interface Label {
  /** Its name as CheXpert writes it, e.g. `Pleural Effusion`. */
  readonly name: string;
  /** Calibrated probability that the finding is present, 0 to 1. */
  readonly probability: number;
  /** The release's decision threshold for `probability`, 0 to 1. */
  readonly threshold: number;
  /** Whether `probability` reaches `threshold`. */
  readonly state: LabelState;
}

/** The decision on an observation. */
export type LabelState =
  /** No decision: the observation was not mentioned. */
  | 'LABEL_STATE_UNSPECIFIED'
  /** Present. */
  | 'LABEL_STATE_POSITIVE'
  /** Absent. */
  | 'LABEL_STATE_NEGATIVE'
  /** Possible. Labels that are extracted from reports have this state; the classifier never does. */
  | 'LABEL_STATE_UNCERTAIN';

/**
 * A release: one immutable set of graphs, weights, tokenizers, thresholds and preprocessing, whose id
 * is derived from its content. It is the unit that is trained, promoted and served.
 */
export interface Release {
  /** `releases/{id}`. */
  readonly name: string;
  /** `rs-` and 24 hex digits of the SHA-256 of its manifest; requests name a release by this id. */
  readonly id: string;
  /** `chexnet`, `resnet101`, `vit`, `chexnet-label`, `resnet101-label` or `vit-label`. */
  readonly variant: string;
  /** The preset that gives the sizes of its models, e.g. `paper` or `demo`. */
  readonly preset: string;
  /** Whether it answers requests. The trainer, which serves none, always says RELEASE_STATE_STORED. */
  readonly state: ReleaseState;
  /** Channels that point to it, e.g. `stable`. */
  readonly channels: readonly string[];
  /** Its share of its variant's traffic, 0 to 1; 0 from the trainer, which routes none. */
  readonly trafficShare: number;
  /** `none` or `int8`. */
  readonly quantization: string;
  /** Width and height in pixels to which images are scaled. */
  readonly imageSize: number;
  /** Maximum length of a report in tokens. */
  readonly maxReportTokens: number;
  /** Total size of its files in bytes. */
  readonly bytes: number;
}

/** Whether a release answers requests. */
export type ReleaseState =
  /** Not known. */
  | 'RELEASE_STATE_UNSPECIFIED'
  /** In the store; no served channel points to it. */
  | 'RELEASE_STATE_STORED'
  /** A served channel points to it, and model services are still loading it. */
  | 'RELEASE_STATE_LOADING'
  /** Answers requests. */
  | 'RELEASE_STATE_SERVING'
  /** A model service could not load it; the previous release continues to answer. */
  | 'RELEASE_STATE_FAILED';

/** Which releases to list. */
export interface ListReleasesRequest {
  /** Maximum number of releases, 1 to 1000; 0 means 50. */
  readonly pageSize: number;
  /** `next_page_token` of the previous page; empty for the first page. */
  readonly pageToken: string;
}

/** One page of releases, by id. */
export interface ListReleasesResponse {
  /** The releases of this page. */
  readonly releases: readonly Release[];
  /** Token of the next page; empty on the last page. */
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
 * Every error carries a google.rpc.ErrorInfo of the domain `radscribe` with a stable reason. For an
 * invalid field it also carries a BadRequest with the field's path, e.g. `images[0].data`; for a full
 * queue or an exhausted quota a RetryInfo with the delay after which to try again.
 */
export interface ReportServiceMethods {
  /**
   * Writes the report of one study. The call has no side effects and may be repeated.
   *
   * INVALID_ARGUMENT: a field is invalid; the message, the BadRequest and the ErrorInfo name it.
   * UNAUTHENTICATED: the gateway requires a token, and the call has none or an invalid one.
   * FAILED_PRECONDITION: the model services no longer hold the release that the request names (reason
   * RELEASE_NOT_HELD).
   * RESOURCE_EXHAUSTED: the gateway or a model service is full, or the caller's quota is exhausted.
   * UNAVAILABLE: no release is served yet, or a model service cannot be reached; try again.
   * DEADLINE_EXCEEDED, CANCELLED: the work was stopped.
   */
  readonly generateReport: Method<GenerateReportRequest, GenerateReportResponse, false, false>;
  /**
   * Writes the report of one study and sends each part as soon as it is certain: the accepted images,
   * the labels, the text as it is decoded, and last the complete report. Nothing is sent before every
   * model service has accepted the same release; all messages of a stream are of that release.
   * Errors as for GenerateReport; if the release is taken out of service mid-response, UNAVAILABLE
   * (reason RELEASE_GONE).
   */
  readonly streamReport: Method<GenerateReportRequest, StreamReportResponse, false, true>;
  /**
   * Writes the reports of many studies, with PRIORITY_BATCH unless a request states another priority.
   * Answers arrive in the order in which they are completed. Each item has its own status; the call
   * itself fails only as a whole (UNAUTHENTICATED, CANCELLED, DEADLINE_EXCEEDED, UNAVAILABLE).
   */
  readonly batchGenerateReports: Method<
    BatchGenerateReportsRequest,
    BatchGenerateReportsResponse,
    true,
    true
  >;
  /**
   * Lists the releases of the store and whether they answer requests.
   *
   * INVALID_ARGUMENT: `page_size` is out of range, or `page_token` was not returned by this method.
   */
  readonly listReleases: Method<ListReleasesRequest, ListReleasesResponse, false, false>;
  /**
   * Returns one release.
   *
   * INVALID_ARGUMENT: `name` is not `releases/{id}`. NOT_FOUND: the store holds no such release.
   */
  readonly getRelease: Method<GetReleaseRequest, Release, false, false>;
}

/** One study. */
export interface GenerateReportRequest {
  /**
   * The caller's id of this request, at most 128 characters; it must not identify the patient. It is
   * returned in the response and decides to which share of split traffic the request belongs.
   * Default: a random UUID.
   */
  readonly requestId: string;
  /**
   * The images of the study, 1 to 8. The report is written from one of them, preferably PA; the labels
   * are those of all frontal views.
   */
  readonly images: readonly Image[];
  /** The clinical indication, at most 2000 characters; used by the plain variants. */
  readonly indication: string;
  /** The id of a release that the gateway serves, `rs-` and 24 hex digits. */
  readonly release?: string;
  /** A channel, e.g. `stable`. */
  readonly channel?: string;
  /** A variant, e.g. `vit-label`; traffic may be split between releases of it. */
  readonly variant?: string;
  /** Decoding options; an absent field has the release's default. */
  readonly decoding: DecodingOptions | null;
  /** How urgent the request is. */
  readonly priority: Priority;
  /** Return labels also for a plain variant, which does not need them to write the text. */
  readonly includeLabels: boolean;
  readonly target?: 'release' | 'channel' | 'variant';
}

/** One image of a study. */
export interface Image {
  /**
   * An encoded JPEG, PNG (8 or 16 bit), TIFF or DICOM Part 10 file; at most 64 MiB and 40 megapixels.
   * Required.
   */
  readonly data: Bytes;
  /** The view, if the caller knows it; it overrides the DICOM file. */
  readonly view: View;
}

/** A report. */
export interface GenerateReportResponse {
  /** That of the request, or the generated one. */
  readonly requestId: string;
  /** The report text. */
  readonly report: Report | null;
  /** All 14 observations in the order of CheXpert; empty for a plain variant without `include_labels`. */
  readonly labels: readonly Label[];
  /** The release that answered, at every model service. */
  readonly release: string;
  /** The variant of that release. */
  readonly variant: string;
  /** The index of the image from which the text was written. */
  readonly imageIndex: number;
  /** The properties of the images, in the order of the request. */
  readonly images: readonly ImageInfo[];
  /** What a reader must know to judge the report. */
  readonly warnings: readonly Warning[];
  /** The time that each stage took, by start. */
  readonly timings: readonly StageTiming[];
  /** The numbers of input and output tokens. */
  readonly tokens: TokenCounts | null;
  /** Why decoding ended. */
  readonly finishReason: FinishReason;
  /** Mean natural logarithm of the probability of the text's tokens, at most 0. */
  readonly meanLogProbability: number;
}

/** The sections of a report. */
export interface Report {
  /** What the image shows. Empty if the model wrote no such section. */
  readonly findings: string;
  /** The conclusion. Empty if the model wrote no such section. */
  readonly impression: string;
}

/** What a reader must know to judge a report. */
export interface Warning {
  /**
   * A stable code: `LATERAL_ONLY`, `LATERAL_NOT_USED`, `VIEW_NOT_PA`, `FRONTAL_NOT_USED`,
   * `OUT_OF_DISTRIBUTION` or `REPORT_TRUNCATED`.
   */
  readonly code: string;
  /** The path of the field that the warning is about, e.g. `images[1]`. */
  readonly field: string;
  /** An explanation for people. */
  readonly message: string;
}

/** The numbers of input and output tokens. */
export interface TokenCounts {
  /** Visual tokens. */
  readonly image: number;
  /** Tokens of the labels or of the indication. */
  readonly text: number;
  /** Tokens of the report. */
  readonly generated: number;
}

/** One message of StreamReport. */
export interface StreamReportResponse {
  /** An image was decoded and embedded. */
  readonly imageAccepted?: ImageAccepted;
  /** The labels of the study. */
  readonly labels?: LabelSet;
  /** The next piece of text. */
  readonly text?: TextDelta;
  /** The complete report; the last message. */
  readonly report?: GenerateReportResponse;
  /** The id of the release that answers: the same in all messages of a stream. */
  readonly release: string;
  readonly event?: 'imageAccepted' | 'labels' | 'text' | 'report';
}

/** An image was decoded and embedded. */
export interface ImageAccepted {
  /** Its index in `images` of the request. */
  readonly index: number;
  /** Its properties. */
  readonly image: ImageInfo | null;
}

/** The labels of a study. */
export interface LabelSet {
  /** All 14 observations, in the order of CheXpert. */
  readonly labels: readonly Label[];
}

/** One study of many. */
export interface BatchGenerateReportsRequest {
  /** The caller's id of this item, at most 128 characters, unique within the call. Required. */
  readonly itemId: string;
  /** The study; its fields mean the same as in GenerateReport. Required. */
  readonly request: GenerateReportRequest | null;
}

/** The result of one study. */
export interface BatchGenerateReportsResponse {
  /** That of the item in the request. */
  readonly itemId: string;
  /** The report. */
  readonly report?: GenerateReportResponse;
  /** The status and details that GenerateReport would have failed with. */
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
   * Creates a training run and puts it into the queue. A repeated call with the same `request_id` and
   * the same run returns the run that exists, so a retry trains nothing twice.
   *
   * INVALID_ARGUMENT: a field of the config is wrong (CONFIG_INVALID, which names it, DATA_UNKNOWN,
   * PRESET_INVALID), `request_id` is too long (REQUEST_ID_INVALID) or was used for another run
   * (REQUEST_ID_REUSED). NOT_FOUND: there is no such preset (PRESET_NOT_FOUND).
   */
  readonly createTrainingRun: Method<CreateTrainingRunRequest, TrainingRun, false, false>;
  /**
   * Returns a run with its present state.
   *
   * NOT_FOUND: there is no such run (RUN_NOT_FOUND).
   */
  readonly getTrainingRun: Method<GetTrainingRunRequest, TrainingRun, false, false>;
  /**
   * Lists the runs, the newest first.
   *
   * INVALID_ARGUMENT: `page_size` is out of its range (PAGE_SIZE_INVALID). NOT_FOUND: `page_token` is
   * unknown (RUN_NOT_FOUND).
   */
  readonly listTrainingRuns: Method<
    ListTrainingRunsRequest,
    ListTrainingRunsResponse,
    false,
    false
  >;
  /**
   * Ends a run for good: at once if it is queued, after the step under way if it trains. A run that has
   * ended stays as it is. A cancelled run cannot be resumed.
   *
   * NOT_FOUND: there is no such run (RUN_NOT_FOUND).
   */
  readonly cancelTrainingRun: Method<CancelTrainingRunRequest, TrainingRun, false, false>;
  /**
   * Puts a run back into the queue that failed or was interrupted; it goes on from its last checkpoint,
   * or from the start where it has none. A run that is queued or trains stays as it is, so a retry
   * changes nothing.
   *
   * NOT_FOUND: there is no such run (RUN_NOT_FOUND). FAILED_PRECONDITION: the run succeeded or was
   * cancelled (RUN_ENDED).
   */
  readonly resumeTrainingRun: Method<ResumeTrainingRunRequest, TrainingRun, false, false>;
  /**
   * Sends the events of a run after a given one, past and new ones, until the run has ended. After a lost
   * connection, call again with the `sequence` of the last event that arrived.
   *
   * NOT_FOUND: there is no such run (RUN_NOT_FOUND).
   */
  readonly watchTrainingRun: Method<WatchTrainingRunRequest, TrainingRunEvent, false, true>;
  /**
   * Evaluates a release on a dataset, with the best constant report and the nearest neighbour as
   * baselines. Takes minutes: set the deadline accordingly.
   *
   * NOT_FOUND: there is no such release (RELEASE_NOT_FOUND). INVALID_ARGUMENT: `data` is not a dataset
   * (DATA_UNKNOWN), `split` is unknown (SPLIT_INVALID). FAILED_PRECONDITION: the split has no study
   * (DATASET_EMPTY). RESOURCE_EXHAUSTED: another evaluation is running (EVALUATION_BUSY).
   */
  readonly evaluateRelease: Method<EvaluateReleaseRequest, EvaluateReleaseResponse, false, false>;
  /**
   * Lists the releases of the store, by id.
   *
   * INVALID_ARGUMENT: `page_size` is out of its range (PAGE_SIZE_INVALID), or `page_token` is unknown
   * (PAGE_TOKEN_INVALID).
   */
  readonly listReleases: Method<ListReleasesRequest, ListReleasesResponse, false, false>;
  /**
   * Returns a release of the store.
   *
   * NOT_FOUND: there is no such release (RELEASE_NOT_FOUND).
   */
  readonly getRelease: Method<GetReleaseRequest, Release, false, false>;
  /**
   * Points a channel at a release. Refused for a release that is worse than the channel's on one of
   * the gate's metrics, unless forced.
   *
   * NOT_FOUND: there is no such release (RELEASE_NOT_FOUND). FAILED_PRECONDITION: the release is worse
   * (RELEASE_WORSE, with both values in the metadata), or the channel was moved in the meantime
   * (CHANNEL_MOVED).
   */
  readonly promoteRelease: Method<PromoteReleaseRequest, Channel, false, false>;
  /**
   * Points a channel at the release that it pointed to before.
   *
   * NOT_FOUND: there is no such channel (CHANNEL_NOT_FOUND). FAILED_PRECONDITION: it never pointed to
   * another release, or it was moved in the meantime (CHANNEL_MOVED).
   */
  readonly rollbackChannel: Method<RollbackChannelRequest, Channel, false, false>;
}

/** A run of training, from a dataset to a release. */
export interface TrainingRun {
  /** `trainingRuns/{run}`. */
  readonly name: string;
  /** Its present state. */
  readonly state: TrainingRunState;
  /**
   * The whole config as JSON, with its defaults; the fields are those of `radscribe train
   * --print-config`.
   */
  readonly configJson: string;
  /** The channel that gets the release; empty for none. */
  readonly channel: string;
  /** When it was created, RFC 3339. */
  readonly createTime: string;
  /** When it last changed, RFC 3339. */
  readonly updateTime: string;
  /** `releases/{id}` of the release that it published; empty before. */
  readonly release: string;
  /** The latest progress of the training; absent before it has begun. */
  readonly progress?: TrainingProgress;
  /** Why it failed; absent otherwise. */
  readonly error?: TrainingError;
  /** Whether it was cancelled; one that trains ends after the step under way. */
  readonly cancelRequested: boolean;
  /** How often it was resumed. */
  readonly resumes: number;
}

/** The state of a run. */
export type TrainingRunState =
  /** Not set. */
  | 'TRAINING_RUN_STATE_UNSPECIFIED'
  /** Waits until the trainer has a place for it. */
  | 'TRAINING_RUN_STATE_QUEUED'
  /** Trains. */
  | 'TRAINING_RUN_STATE_RUNNING'
  /** Was stopped with a checkpoint; it goes on when the trainer is started again, or is resumed. */
  | 'TRAINING_RUN_STATE_INTERRUPTED'
  /** Has ended, and published its release. */
  | 'TRAINING_RUN_STATE_SUCCEEDED'
  /** Has ended with an error; it can be resumed. */
  | 'TRAINING_RUN_STATE_FAILED'
  /** Has ended because it was cancelled. */
  | 'TRAINING_RUN_STATE_CANCELLED';

/** The progress of a training run. */
export interface TrainingProgress {
  /** `prepare`, `labels`, `stage1`, `stage2`, `refit`, `features`, or `evaluate: ...`. */
  readonly stage: string;
  /** Epoch of the stage, from 0. */
  readonly epoch: number;
  /** Optimizer steps of the stage so far, 0 to `total_steps`. */
  readonly step: number;
  /** Optimizer steps of the whole stage. */
  readonly totalSteps: number;
  /** Mean loss of the latest steps; absent where nothing is trained. */
  readonly loss?: number;
  /** Studies per second over the last half minute. */
  readonly studiesPerSecond: number;
  /** Estimated seconds until the end of the stage; absent where there is no estimate. */
  readonly etaSeconds?: number;
}

/** Why a run failed. */
export interface TrainingError {
  /** For programs, e.g. `LOSS_NOT_FINITE`, `DATASET_EMPTY`, `DISK_FULL`. */
  readonly reason: string;
  /** For people. It holds nothing of a patient. */
  readonly message: string;
}

/** Which run to create. */
export interface CreateTrainingRunRequest {
  /**
   * An identifier that the caller chooses, unique to the run, at most 128 characters, e.g. a UUID.
   * Empty: none, and a retry creates another run.
   */
  readonly requestId: string;
  /**
   * The config as JSON. Absent fields have the defaults of its preset, then the paper's. Required:
   * `variant` and `data`.
   */
  readonly configJson: string;
  /** The channel that gets the release; empty for none. */
  readonly channel: string;
}

/** Which run to return. */
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

/** Which run to cancel. */
export interface CancelTrainingRunRequest {
  /** `trainingRuns/{run}`. Required. */
  readonly name: string;
}

/** Which run to resume. */
export interface ResumeTrainingRunRequest {
  /** `trainingRuns/{run}`. Required. */
  readonly name: string;
}

/** Which run to watch. */
export interface WatchTrainingRunRequest {
  /** `trainingRuns/{run}`. Required. */
  readonly name: string;
  /** The `sequence` of an event: only later ones are sent. 0: all. */
  readonly afterSequence: number;
}

/** An event of a run. */
export interface TrainingRunEvent {
  /** Counts from 1 within the run. */
  readonly sequence: number;
  /** When, RFC 3339. */
  readonly time: string;
  /** `state`, `progress`, `metrics`, `checkpoint`, `warning` or `release`. */
  readonly kind: string;
  /** The event as a JSON object; its fields depend on the kind. */
  readonly dataJson: string;
}

/** Which release to evaluate, on which dataset. */
export interface EvaluateReleaseRequest {
  /** `releases/{id}`. Required. */
  readonly name: string;
  /** `mimic:FOLDER`, `iu:FOLDER` or `phantom:N`; empty for the dataset that it was trained on. */
  readonly data: string;
  /** `validate` or `test`; empty for `test`. */
  readonly split: string;
  /** At most this many studies; 0: as many as the run's config says. */
  readonly studies: number;
}

/** The evaluation of a release. */
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
  /** Number of studies. */
  readonly studies: number;
  /** The release, then the baselines. */
  readonly rows: readonly EvaluationRow[];
}

/** One row of a table. */
export interface EvaluationRow {
  /** `model`, `constant` or `nearest`. */
  readonly subject: string;
  /** The metrics. */
  readonly values: readonly MeasuredValue[];
}

/** The value of one metric. */
export interface MeasuredValue {
  /** e.g. `microF1`. */
  readonly metric: string;
  /** 0 to 10 for CIDEr, 0 to 1 for all others. */
  readonly value: number;
  /** Lower bound of the 95 % confidence interval; absent without an interval. */
  readonly low?: number;
  /** Upper bound. */
  readonly high?: number;
}

/** Which channel to point at which release. */
export interface PromoteReleaseRequest {
  /** `releases/{id}`. Required. */
  readonly name: string;
  /** e.g. `stable`. Required. */
  readonly channel: string;
  /**
   * The channel's share of its variant's traffic, 0 to 1; absent: what the gateway's other channels
   * of the variant leave.
   */
  readonly weight?: number;
  /** Promote the release even if it is worse than the channel's. */
  readonly force: boolean;
  /** Move the channel only if it is still at this generation; 0: in any case. */
  readonly expectedGeneration: number;
}

/** Which channel to roll back. */
export interface RollbackChannelRequest {
  /** e.g. `stable`. Required. */
  readonly channel: string;
  /** Move the channel only if it is still at this generation; 0: in any case. */
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
  /** Number of its moves. */
  readonly generation: number;
}

/**
 * The first model of the chain: decodes an image and turns it into visual tokens.
 * For the gateway; applications call ReportService.
 */
export interface VisionServiceMethods {
  /**
   * Decodes, preprocesses and embeds one image. Concurrent calls for one release share a run of the
   * model. The call has no side effects and may be repeated.
   *
   * INVALID_ARGUMENT: `image` cannot be decoded (reasons IMAGE_* and DICOM_*).
   * FAILED_PRECONDITION: this replica does not hold `release` (reason RELEASE_NOT_HELD).
   * RESOURCE_EXHAUSTED: the queue is full (reason QUEUE_FULL), with a RetryInfo.
   * DEADLINE_EXCEEDED, CANCELLED: the work was dropped. UNAVAILABLE: the service is shutting down or
   * cannot be reached.
   */
  readonly embed: Method<EmbedRequest, EmbedResponse, false, false>;
}

/** An image to embed. */
export interface EmbedRequest {
  /** The id of the release that must answer, `rs-` and 24 hex digits. Required. */
  readonly release: string;
  /** JPEG, PNG (8 or 16 bit), TIFF or DICOM Part 10, at most 64 MiB and 40 megapixels. Required. */
  readonly image: Bytes;
  /** How urgent the request is. */
  readonly priority: Priority;
}

/** The embedding of one image. */
export interface EmbedResponse {
  /** The release that answered: that of the request. */
  readonly release: string;
  /** float16 [N, C]: N visual tokens of C channels, pooled where the release says so. */
  readonly tokens: Tensor | null;
  /** float16 [C]: one feature vector of the whole image. */
  readonly pooled: Tensor | null;
  /** Properties of the decoded image. */
  readonly image: ImageInfo | null;
  /**
   * Distance of `pooled` from the images that the release was trained on: 0 and up. 1 is the
   * threshold that was calibrated for the release; above it the report should not be relied on.
   * Absent if the release has no calibration.
   */
  readonly outOfDistribution?: number;
  /** `decode`, `preprocess`, `queue`, `inference`. */
  readonly timings: readonly StageTiming[];
}
