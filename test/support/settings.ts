import type { Settings } from './manifest-checks.ts';

export async function serviceSettings(): Promise<Settings> {
  return {};
}
