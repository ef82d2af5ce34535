import { type Config, integer, list, optional, share, text } from '../../lib/service/settings.ts';
import {
  lifecycleSettings,
  listenSettings,
  storePollMs,
} from '../../lib/service/server-settings.ts';

/** Every setting of the gateway. */
export const settings = {
  ...listenSettings(50051, 9464),
  storePollMs,
  channels: list('CHANNELS', 'stable', 'channels to serve; the first is the default'),
  visionAddress: text('VISION_ADDRESS', '127.0.0.1:50052', 'address of the vision service'),
  labelerAddress: text('LABELER_ADDRESS', '127.0.0.1:50053', 'address of the labeler service'),
  generatorAddress: text(
    'GENERATOR_ADDRESS',
    '127.0.0.1:50054',
    'address of the generator service',
  ),
  timeoutMs: integer('TIMEOUT_MS', 60_000, 'deadline of calls that bring none, ms', { min: 1 }),
  queueLimit: integer('QUEUE_LIMIT', 256, 'maximum concurrent requests', { min: 1 }),
  queueBytes: integer(
    'QUEUE_BYTES',
    256 * 1024 * 1024,
    'maximum total size of images in flight, bytes; memory use is up to six times that',
    { min: 1 },
  ),
  maxMessageBytes: integer('MAX_MESSAGE_BYTES', 128 * 1024 * 1024, 'maximum request size, bytes', {
    min: 1024,
  }),
  authTokensFile: optional('AUTH_TOKENS_FILE', 'file of static tokens, one per line: CLIENT TOKEN'),
  authJwks: optional('AUTH_JWKS', 'JSON Web Key Set of the token issuer: a URL or a file'),
  authIssuer: optional('AUTH_ISSUER', 'required claim iss of a token'),
  authAudience: optional('AUTH_AUDIENCE', 'required claim aud of a token'),
  quotaPerMinute: integer('QUOTA_PER_MINUTE', 0, 'images per minute and client; 0: no quota'),
  quotaBurst: integer('QUOTA_BURST', 20, 'images that a client may send at once', { min: 1 }),
  shadowChannel: optional('SHADOW_CHANNEL', 'channel that receives copies of requests'),
  shadowShare: share('SHADOW_SHARE', 0, 'share of requests that are copied, 0 to 1'),
  shadowLimit: integer('SHADOW_LIMIT', 4, 'maximum concurrent copies; more are shed', { min: 1 }),
  ...lifecycleSettings,
} as const;

export type GatewayConfig = Config<typeof settings>;
