export async function dev(options: { fresh: boolean; traffic: boolean }): Promise<void> {
  void options;
}
