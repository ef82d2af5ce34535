const mebibyte = 1024 * 1024;

/** The largest accepted image, as in lib/image, in bytes. */
const maxImageBytes = 64 * mebibyte;

/** The largest message between services: one image and the other fields. */
export const maxMessageBytes = maxImageBytes + mebibyte;

/**
 * How many bytes grpc-js keeps of a call, and of all calls of a channel, so that it can send the call on
 * another connection. With its default of 1 MiB a call it silently could not for most images.
 */
export const retryBuffer = { perCallBytes: maxMessageBytes + mebibyte, totalBytes: 256 * mebibyte };

/** HTTP/2 flow control window: large enough to send an image without waiting for the receiver. */
export const flowControlWindow = 8 * mebibyte;
