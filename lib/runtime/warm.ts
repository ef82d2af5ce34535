import { type Backend, type BackendOptions, createBackend } from './backend.ts';
import { prepareWorker } from './port.ts';

/**
 * A model on a backend of its own: what `load` gives, after it has loaded its sessions and warmed them.
 * Only that is in the background. What fails leaves nothing behind.
 */
export async function loadWarmed<Model>(
  options: BackendOptions,
  load: (backend: Backend) => Promise<Model>,
): Promise<Model> {
  const backend = await createBackend(options);
  try {
    const model = await load(backend);
    backend.foreground();
    // For the release that comes to take its place; that one gets the worker of this one.
    if (options.background !== true) prepareWorker(backend.provider);
    return model;
  } catch (error) {
    await backend.dispose();
    throw error;
  }
}
