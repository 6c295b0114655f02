import java.net.ConnectException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.util.ArrayList;
import java.util.List;

/**
 * Clients that each post an event again and again over a connection of their own, until a
 * connection is refused.
 *
 * <p>Arguments: URL, token, number of clients, milliseconds between the requests of one client.
 * Prints one line per request: client, time of its beginning in milliseconds since the epoch, status
 * or "refused" or "lost", and the header Connection or the error.
 */
public final class SteadyClients {
  private static synchronized void print(int client, long began, String outcome, String detail) {
    System.out.println(client + "\t" + began + "\t" + outcome + "\t" + detail);
    System.out.flush();
  }

  private static boolean isRefused(Throwable error) {
    for (Throwable cause = error; cause != null; cause = cause.getCause()) {
      if (cause instanceof ConnectException) {
        return true;
      }
    }
    return false;
  }

  private static void run(int number, String url, String token, long pause) {
    HttpClient client = HttpClient.newHttpClient();
    HttpRequest request =
        HttpRequest.newBuilder(URI.create(url))
            .header("Authorization", "Bearer " + token)
            .header("Content-Type", "application/json")
            .POST(BodyPublishers.ofString("{\"action\":\"drain.java\",\"actor\":{\"id\":\"u\"}}"))
            .build();
    while (true) {
      long began = System.currentTimeMillis();
      try {
        HttpResponse<String> answer = client.send(request, BodyHandlers.ofString());
        String connection = answer.headers().firstValue("connection").orElse("");
        print(number, began, Integer.toString(answer.statusCode()), connection);
        Thread.sleep(pause);
      } catch (InterruptedException interrupted) {
        return;
      } catch (Exception error) {
        boolean refused = isRefused(error);
        print(number, began, refused ? "refused" : "lost", String.valueOf(error));
        if (refused) {
          return;
        }
      }
    }
  }

  public static void main(String[] arguments) throws Exception {
    List<Thread> threads = new ArrayList<>();
    for (int number = 0; number < Integer.parseInt(arguments[2]); number++) {
      int client = number;
      long pause = Long.parseLong(arguments[3]);
      Thread thread = new Thread(() -> run(client, arguments[0], arguments[1], pause));
      thread.start();
      threads.add(thread);
    }
    for (Thread thread : threads) {
      thread.join();
    }
  }
}
