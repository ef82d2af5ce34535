import { type Backend, type BackendOptions, createBackend } from './backend.ts';
import { prepareWorker } from './port.ts';

/**
 * A model on a backend of its own: what `load` returns after it has loaded its sessions and warmed them
 * up. A throttled backend is unthrottled then. Disposes of the backend when loading fails.
 */
export async function loadWarmed<Model>(
  options: BackendOptions,
  load: (backend: Backend) => Promise<Model>,
): Promise<Model> {
  const backend = await createBackend(options);
  try {
    const model = await load(backend);
    backend.unthrottle();
    // For the release that replaces this one; that one is throttled, and gets the worker of this one.
    if (options.throttled !== true) prepareWorker(backend.provider);
    return model;
  } catch (error) {
    await backend.dispose();
    throw error;
  }
}
