const mebibyte = 1024 * 1024;

/** The largest picture that is taken, as lib/image limits it, in bytes. */
const maxImageBytes = 64 * mebibyte;

/** The largest message of an internal hop: one picture and its envelope. */
export const maxMessageBytes = maxImageBytes + mebibyte;

/**
 * What a client may keep of a call to send it again. grpc-js' 1 MiB a call would silently switch
 * retries off for most radiographs.
 */
export const retryBuffer = { perCallBytes: maxMessageBytes + mebibyte, totalBytes: 256 * mebibyte };

/** HTTP/2 flow control: whole pictures are under way without waiting for the other side. */
export const flowControlWindow = 8 * mebibyte;
