import test from 'ava';
import {
  choice,
  integer,
  list,
  optional,
  readConfig,
  settingsHelp,
  share,
  text,
} from '../lib/service/settings.ts';

const settings = {
  host: text('HOST', '127.0.0.1', 'address to listen on'),
  port: integer('PORT', 50051, 'port', { max: 65535 }),
  channels: list('CHANNELS', 'stable', 'channels'),
  ratio: share('RATIO', 0.5, 'a share'),
  level: choice('LEVEL', 'info', ['info', 'warn'], 'level'),
  collector: optional('OTEL_EXPORTER_OTLP_ENDPOINT', 'collector'),
};

test('an unset variable has its default, typed', (t) => {
  t.deepEqual(readConfig(settings, { RADSCRIBE_HOST: '' }), {
    host: '127.0.0.1',
    port: 50051,
    channels: ['stable'],
    ratio: 0.5,
    level: 'info',
    collector: undefined,
  });
});

test('a set variable is parsed; OTEL names have no RADSCRIBE prefix', (t) => {
  const environment = {
    RADSCRIBE_PORT: ' 0 ',
    RADSCRIBE_CHANNELS: 'stable, canary,',
    RADSCRIBE_RATIO: '1',
    RADSCRIBE_LEVEL: 'warn',
    OTEL_EXPORTER_OTLP_ENDPOINT: 'http://collector:4318',
  };
  t.like(readConfig(settings, environment), {
    port: 0,
    channels: ['stable', 'canary'],
    ratio: 1,
    level: 'warn',
    collector: 'http://collector:4318',
  });
});

for (const [name, value, expected] of [
  ['RADSCRIBE_PORT', '70000', 'RADSCRIBE_PORT: is "70000"; expected an integer from 0 to 65535'],
  ['RADSCRIBE_PORT', '1.5', 'RADSCRIBE_PORT: is "1.5"; expected an integer from 0 to 65535'],
  ['RADSCRIBE_RATIO', '2', 'RADSCRIBE_RATIO: is "2"; expected a number from 0 to 1'],
  ['RADSCRIBE_LEVEL', 'loud', 'RADSCRIBE_LEVEL: is "loud"; expected one of info, warn'],
] as const) {
  test(`${name}=${value} is refused by name`, (t) => {
    t.throws(() => readConfig(settings, { [name]: value }), { message: expected });
  });
}

test('--help is a table of all settings', (t) => {
  const help = settingsHelp('A service.', settings);
  t.regex(help, /^A service\.\n/);
  t.regex(help, /\n {2}RADSCRIBE_PORT +50051 +port\n/);
  t.regex(help, /\n {2}OTEL_EXPORTER_OTLP_ENDPOINT +- +collector\n/);
});
