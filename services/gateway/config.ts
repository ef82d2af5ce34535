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
  channels: list('CHANNELS', 'stable', 'channels that are served; the first is the default'),
  visionAddress: text('VISION_ADDRESS', '127.0.0.1:50052', 'where the vision service is'),
  labelerAddress: text('LABELER_ADDRESS', '127.0.0.1:50053', 'where the labeler service is'),
  generatorAddress: text('GENERATOR_ADDRESS', '127.0.0.1:50054', 'where the generator service is'),
  timeoutMs: integer('TIMEOUT_MS', 60_000, 'for calls that bring no deadline, ms', { min: 1 }),
  queueLimit: integer('QUEUE_LIMIT', 256, 'requests under way at a time', { min: 1 }),
  queueBytes: integer(
    'QUEUE_BYTES',
    256 * 1024 * 1024,
    'pictures under way, bytes; they cost up to six times as much memory',
    { min: 1 },
  ),
  maxMessageBytes: integer('MAX_MESSAGE_BYTES', 128 * 1024 * 1024, 'largest request, bytes', {
    min: 1024,
  }),
  authTokensFile: optional('AUTH_TOKENS_FILE', 'static tokens, a line each: CLIENT TOKEN'),
  authJwks: optional('AUTH_JWKS', 'keys of the token issuer: a URL or a file (JSON Web Key Set)'),
  authIssuer: optional('AUTH_ISSUER', 'what the claim iss of a token must be'),
  authAudience: optional('AUTH_AUDIENCE', 'what the claim aud of a token must be'),
  quotaPerMinute: integer('QUOTA_PER_MINUTE', 0, 'pictures a minute and client; 0 is no quota'),
  quotaBurst: integer('QUOTA_BURST', 20, 'pictures that a client may send at once', { min: 1 }),
  shadowChannel: optional('SHADOW_CHANNEL', 'channel that gets copies of requests'),
  shadowShare: share('SHADOW_SHARE', 0, 'share of requests that are copied, 0 to 1'),
  shadowLimit: integer('SHADOW_LIMIT', 4, 'copies at a time; more are shed', { min: 1 }),
  ...lifecycleSettings,
} as const;

export type GatewayConfig = Config<typeof settings>;
