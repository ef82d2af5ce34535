/**
 * Ends this process as soon as the process that started it has died, however it died: SIGKILL lets no
 * parent end its children. The parent asks for it by an IPC channel (`stdio: [..., 'ipc']`), which
 * closes when it dies; without one, as in a container or a shell, nothing changes.
 *
 * The end is SIGKILL too: a drain, or a thread inside a model, would keep a process that nobody awaits.
 */
export function endWithParent(): void {
  const end = (): void => void process.kill(process.pid, 'SIGKILL');
  process.once('disconnect', end);
  // To watch must not keep alive what has nothing else to do.
  process.channel?.unref();
  // It may have died while the modules of this process were loaded.
  if ('connected' in process && !process.connected) end();
}
